"""The coordinator: brings requests in, routes each stage to a client, notes what became of them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from collections.abc import Sequence as Sequence_
from dataclasses import dataclass, replace

import numpy as np
from simpy import Event

from hermes.errors import SimulationError
from hermes.metrics.requests import NEVER, RequestColumns
from hermes.sim.clock import Clock
from hermes.sim.hand_off import HandOff
from hermes.sim.replica import Replica
from hermes.sim.routing import RoutingPolicy
from hermes.sim.sequence import Sequence
from hermes.sim.tiers.recall import Recall
from hermes.workload import Workload

__all__ = ["Coordinator", "Route"]


@dataclass(frozen=True, slots=True)
class Route:
    """Where a pipeline's stage can go, and who chooses.

    Attributes:
        replicas: Those that take its requests.
        policy: Chooses among them.
        uniform: All of them accept the same requests.
        hand_off: Takes over when the prompt is done; None where replicas serve whole requests.
        overflow_tokens: Pending prompt tokens of every replica above which an idle decode replica
            takes a request whole; None: never.
        recall: Stored context in front of the prompts, which only some replicas may reach.
    """

    replicas: tuple[Replica, ...]
    policy: RoutingPolicy
    uniform: bool
    hand_off: HandOff | None = None
    overflow_tokens: int | None = None
    recall: Recall | None = None


class Coordinator:
    """Feeds a workload to the replicas and keeps the request log.

    Args:
        env: The SimPy environment.
        workload: The requests.
        ttft_ticks: Time to first token that the SLO allows, for deadlines.
        on_finished: Hears of each request that has all its tokens: its number, and the ticks of
            its arrival, first and last token. May end the simulation by raising.
    """

    def __init__(
        self,
        env: Clock,
        workload: Workload,
        ttft_ticks: int,
        on_finished: Callable[[int, int, int, int], None] | None = None,
    ) -> None:
        size = len(workload.arrival_ticks)
        self._env = env
        self._ttft_ticks = ttft_ticks
        self._on_finished = on_finished
        self._workload = workload
        self._scheduled = [NEVER] * size
        self._first_token = [NEVER] * size
        self._last_token = [NEVER] * size
        self._preemptions = [0] * size
        self._replica = [-1] * size
        self._reason: dict[int, str] = {}
        self._routes: tuple[Route, ...] = ()

    def start(self, routes: tuple[Route, ...]) -> None:
        """Begin the arrivals; `routes` holds one route for each pipeline of the workload."""
        self._routes = routes
        self._env.process(self._arrivals(routes))

    # -- as the replicas' listener --------------------------------------------------------------

    def finished(self, replica: Replica, sequence: Sequence, now: int) -> None:
        """Note a request that got its last token at tick `now`.

        The front end is no queue: what it adds to a request, it adds to all its times.
        """
        request, front_end = sequence.request_id, replica.front_end_ticks
        self._scheduled[request] = sequence.scheduled
        self._first_token[request] = sequence.first_token + front_end
        self._last_token[request] = now + front_end
        self._preemptions[request] = sequence.preemptions
        if self._on_finished is not None:
            first = sequence.first_token + front_end
            self._on_finished(request, sequence.arrival, first, now + front_end)

    def prefilled(self, replica: Replica, sequence: Sequence, now: int) -> None:
        """Hand a request over to the decode replicas."""
        self._hand_off(sequence).prefilled(replica, sequence, now)

    def finishing_prompt(self, replica: Replica, sequence: Sequence, begin: int, end: int) -> None:
        """Begin to hand a request over, layer by layer."""
        self._hand_off(sequence).finishing_prompt(replica, sequence, begin, end)

    def fetching(self, replica: Replica, sequence: Sequence) -> None:
        """Let a request's KV flow to the replica that has blocks for it."""
        del replica
        self._hand_off(sequence).fetching(sequence, self._env.now)

    def _hand_off(self, sequence: Sequence) -> HandOff:
        route = self._routes[int(self._workload.pipeline[sequence.request_id])]
        hand_off = route.hand_off
        if hand_off is None:
            raise SimulationError(f"{sequence} has nobody to be handed to")
        return hand_off

    # -- arrivals -------------------------------------------------------------------------------

    def _arrivals(self, routes: tuple[Route, ...]) -> Generator[Event, None, None]:
        env, workload = self._env, self._workload
        arrivals = workload.arrival_ticks.tolist()
        prompts = workload.prompt_tokens.tolist()
        outputs = workload.output_tokens.tolist()
        pipelines = workload.pipeline.tolist()
        now = 0
        for request, arrival in enumerate(arrivals):
            if arrival > now:
                yield env.timeout(arrival - now)
                now = arrival
            self._admit(
                routes[pipelines[request]], request, now, prompts[request], outputs[request]
            )

    def _admit(self, route: Route, request: int, now: int, prompt: int, output: int) -> None:
        recalled = None
        if route.recall is not None:
            recalled = route.recall.of(request)
            prompt += recalled.tokens
            route = replace(route, replicas=route.recall.candidates(request))
        replicas, reason = self._candidates(route, prompt, output)
        if not replicas:
            self._reason[request] = reason
            return
        replica = replicas[0] if len(replicas) == 1 else route.policy.choose(replicas, now)
        helper = self._helper(route, replicas, prompt, output)
        if helper is not None:
            replica = helper
        self._replica[request] = replica.index
        sequence = self._sequence(replica, request, now, prompt, output)
        sequence.recalled = recalled
        sequence.hand_off = route.hand_off is not None and helper is None
        replica.submit(sequence)

    @staticmethod
    def _candidates(route: Route, prompt: int, output: int) -> tuple[Sequence_[Replica], str]:
        """Return the replicas that could serve a request, or why there is none."""
        replicas: Sequence_[Replica] = route.replicas
        if route.hand_off is not None:
            return _handing(route.hand_off, replicas, prompt, output)
        reason = replicas[0].engine.rejection(prompt, output)
        if reason or not route.uniform:
            replicas = [r for r in replicas if not r.engine.rejection(prompt, output)]
        return replicas, reason

    @staticmethod
    def _helper(
        route: Route, replicas: Sequence_[Replica], prompt: int, output: int
    ) -> Replica | None:
        """Return an idle decode replica to serve a request whole, when the others have too much."""
        if route.hand_off is None or route.overflow_tokens is None:
            return None
        if any(r.engine.pending_prompt_tokens <= route.overflow_tokens for r in replicas):
            return None
        return route.hand_off.idle_target(prompt, output)

    def _sequence(
        self, replica: Replica, request: int, now: int, prompt: int, output: int
    ) -> Sequence:
        workload = self._workload
        prefix: tuple[int, ...] = ()
        if workload.prefixes is not None:
            prefix = workload.prefixes.keys(request, prompt, replica.engine.limits.block_size)
        priority = 0 if workload.priority is None else int(workload.priority[request])
        deadline = now + self._ttft_ticks
        return Sequence(request, now, prompt, output, prefix, priority, deadline)

    def columns(self, replica_names: tuple[str, ...]) -> RequestColumns:
        """Return the request log."""
        workload = self._workload
        size = len(workload.arrival_ticks)
        return RequestColumns(
            arrival=workload.arrival_ticks,
            scheduled=np.array(self._scheduled, np.int64),
            first_token=np.array(self._first_token, np.int64),
            last_token=np.array(self._last_token, np.int64),
            prompt_tokens=workload.prompt_tokens,
            output_tokens=workload.output_tokens,
            preemptions=np.array(self._preemptions, np.int64),
            pipeline=workload.pipeline,
            pipeline_names=workload.pipeline_names,
            replica=np.array(self._replica, np.int64),
            replica_names=replica_names,
            reason=tuple(self._reason.get(i, "") for i in range(size)),
        )


def _handing(
    hand_off: HandOff, replicas: Sequence_[Replica], prompt: int, output: int
) -> tuple[Sequence_[Replica], str]:
    """Return the prefill replicas that can take a prompt and reach who decodes it."""
    able = [replica for replica in replicas if not replica.engine.rejection(prompt, 1)]
    if not able:
        return able, replicas[0].engine.rejection(prompt, 1)
    paired = [replica for replica in able if hand_off.targets(replica, prompt, output)]
    return paired, "no_decode_replica_holds_it"
