"""A recording of a prefill or decode pool: one replica, whose transfers take the recorded times.

A pool's own rules are the engine's: when blocks are taken and given back, who waits for them. How
long a transfer takes is the network's affair in a scenario, and the recording's here.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field

from simpy import Event

from hermes.sim.clock import Clock
from hermes.sim.deployment import ClientPlan
from hermes.sim.engine import Engine
from hermes.sim.replica import Observer, Replica, ReplicaSetup
from hermes.sim.sequence import Sequence
from tests.conformance.recording import Recording

TICKS_PER_NS = 1000


@dataclass
class Pool:
    """One replica of a pool and its requests' fates, in ticks; the listener of the replica."""

    recording: Recording
    plan: ClientPlan
    fast_forward: bool
    observer: Observer | None
    first_token: list[int] = field(default_factory=list)
    last_token: list[int] = field(default_factory=list)
    preemptions: list[int] = field(default_factory=list)

    def run(self) -> Replica:
        count = len(self.recording.case.requests)
        self.first_token, self.last_token = [-1] * count, [-1] * count
        self.preemptions = [0] * count
        self.clock = Clock(initial_time=0)
        setup = ReplicaSetup(
            Engine(self.plan.limits, self.plan.order()),
            self.plan.batching(),
            self.plan.costs,
            lambda tokens: 0,
            fast_forward=self.fast_forward,
            check=True,
            observer=self.observer,
        )
        self.replica = Replica(self.clock, 0, setup, self)
        self.clock.process(self._arrivals())
        self.clock.run()
        self.replica.engine.check_drained()
        return self.replica

    def _arrivals(self) -> Generator[Event, None, None]:
        sends = self.recording.case.options["kv_role"] == "kv_producer"
        for number, request in enumerate(self.recording.case.requests):
            arrival = request.arrival_ns * TICKS_PER_NS
            if arrival > self.clock.now:
                yield self.clock.timeout(arrival - self.clock.now)
            # vLLM's decode engine computes the last prompt token again and samples from it
            more = 1 if sends else 0
            sequence = Sequence(
                number, arrival, request.prompt_tokens, request.output_tokens + more
            )
            if sends:
                sequence.hand_off = True
            else:
                sequence = Sequence(
                    number, arrival, request.prompt_tokens - 1, request.output_tokens + 1
                )
                sequence.remote = request.prompt_tokens - 1
                sequence.target = request.prompt_tokens
            self.replica.submit(sequence)

    def _transfer(self, sequence: Sequence, arrived: bool) -> Generator[Event, None, None]:
        number = sequence.request_id
        ticks = self.recording.case.requests[number].transfer_ns * TICKS_PER_NS
        yield self.clock.timeout(ticks)
        if arrived:
            sequence.first_token = self.clock.now
            sequence.last_token = self.clock.now
            self.replica.engine.received(sequence)
        else:
            self.replica.engine.sent(sequence)
        self.replica.disturb()

    def finished(self, replica: Replica, sequence: Sequence, now: int) -> None:
        self.last_token[sequence.request_id] = now
        self.preemptions[sequence.request_id] = sequence.preemptions

    def prefilled(self, replica: Replica, sequence: Sequence, now: int) -> None:
        self.first_token[sequence.request_id] = self.last_token[sequence.request_id] = now
        self.preemptions[sequence.request_id] = sequence.preemptions
        self.clock.process(self._transfer(sequence, arrived=False))

    def fetching(self, replica: Replica, sequence: Sequence) -> None:
        self.clock.process(self._transfer(sequence, arrived=True))

    def finishing_prompt(self, replica: Replica, sequence: Sequence, begin: int, end: int) -> None:
        raise NotImplementedError
