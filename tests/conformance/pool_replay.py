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
from hermes.sim.laws import check_drained
from hermes.sim.replica import Observer, Replica, ReplicaSetup
from hermes.sim.sequence import Sequence
from tests.conformance.recording import Recording, Request

TICKS_PER_NS = 1000


@dataclass
class Pool:
    """One replica of a pool, what became of its requests, in ticks; hears the replica out.

    First tokens are those a prefill pool gives; the steps say when a decode pool gives its first.
    """

    recording: Recording
    plan: ClientPlan
    fast_forward: bool
    observer: Observer | None
    first_token: list[int] = field(default_factory=list)
    last_token: list[int] = field(default_factory=list)
    preemptions: list[int] = field(default_factory=list)

    def run(self) -> Replica:
        count = len(self.recording.case.requests)
        sends = self.recording.case.options["kv_role"] == "kv_producer"
        self.first_token = [-1] * count if sends else []
        self.last_token = [-1] * count
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
        check_drained(self.replica.engine)
        return self.replica

    def _arrivals(self) -> Generator[Event, None, None]:
        sends = self.recording.case.options["kv_role"] == "kv_producer"
        for number, request in enumerate(self.recording.case.requests):
            arrival = request.arrival_ns * TICKS_PER_NS
            if arrival > self.clock.now:
                yield self.clock.timeout(arrival - self.clock.now)
            self.replica.submit(_sender(number, request) if sends else _receiver(number, request))

    def _transfer(self, sequence: Sequence) -> Generator[Event, None, None]:
        request = self.recording.case.requests[sequence.request_id]
        yield self.clock.timeout(request.transfer_ns * TICKS_PER_NS)
        if sequence.remote:
            sequence.first_token = sequence.last_token = self.clock.now
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
        self.clock.process(self._transfer(sequence))

    def fetching(self, replica: Replica, sequence: Sequence) -> None:
        self.clock.process(self._transfer(sequence))

    def finishing_prompt(self, replica: Replica, sequence: Sequence, begin: int, end: int) -> None:
        raise NotImplementedError


def _sender(number: int, request: Request) -> Sequence:
    """A request that goes on elsewhere after the one token that the recording lets it have."""
    assert request.output_tokens == 1
    sequence = Sequence(number, request.arrival_ns * TICKS_PER_NS, request.prompt_tokens, 2)
    sequence.hand_off = True
    return sequence


def _receiver(number: int, request: Request) -> Sequence:
    """A request whose KV is to come.

    vLLM's decode engine loads the prompt's KV, computes the last prompt token again and samples the
    first token from it. In Hermes the prefill replica has sampled that one. So a recorded request
    is one here whose prompt is a token shorter and whose first token came with the KV.
    """
    sequence = Sequence(
        number,
        request.arrival_ns * TICKS_PER_NS,
        request.prompt_tokens - 1,
        request.output_tokens + 1,
    )
    sequence.remote = request.prompt_tokens - 1
    sequence.target = request.prompt_tokens
    return sequence
