"""The coordinator: brings requests in, routes each stage to a client, notes what became of them."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from simpy import Event

from hermes.metrics.requests import NEVER, RequestColumns
from hermes.sim.clock import Clock
from hermes.sim.replica import Replica
from hermes.sim.routing import RoutingPolicy
from hermes.sim.sequence import Sequence
from hermes.workload import Workload

__all__ = ["Coordinator", "Route"]


@dataclass(frozen=True, slots=True)
class Route:
    """Where a pipeline's stage can go, and who chooses."""

    replicas: tuple[Replica, ...]
    policy: RoutingPolicy
    uniform: bool  # all replicas accept the same requests


class Coordinator:
    """Feeds a workload to the replicas and keeps the request log.

    Args:
        env: The SimPy environment.
        workload: The requests.
        ttft_ticks: Time to first token that the SLO allows, for deadlines.
    """

    def __init__(self, env: Clock, workload: Workload, ttft_ticks: int) -> None:
        size = len(workload.arrival_ticks)
        self._env = env
        self._ttft_ticks = ttft_ticks
        self._workload = workload
        self._scheduled = [NEVER] * size
        self._first_token = [NEVER] * size
        self._last_token = [NEVER] * size
        self._preemptions = [0] * size
        self._replica = [-1] * size
        self._reason: dict[int, str] = {}

    def start(self, routes: tuple[Route, ...]) -> None:
        """Begin the arrivals; `routes` holds one route for each pipeline of the workload."""
        self._env.process(self._arrivals(routes))

    def finished(self, sequence: Sequence, now: int, front_end: int = 0) -> None:
        """Note a request that got its last token at tick `now`.

        The front end is no queue: what it adds to a request, it adds to all its times.
        """
        request = sequence.request_id
        self._scheduled[request] = sequence.scheduled
        self._first_token[request] = sequence.first_token + front_end
        self._last_token[request] = now + front_end
        self._preemptions[request] = sequence.preemptions

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
        replicas = route.replicas
        reason = replicas[0].engine.rejection(prompt, output)
        if reason or not route.uniform:
            replicas = tuple(
                replica for replica in replicas if not replica.engine.rejection(prompt, output)
            )
        if not replicas:
            self._reason[request] = reason
            return
        replica = replicas[0] if len(replicas) == 1 else route.policy.choose(replicas, now)
        self._replica[request] = replica.index
        replica.submit(self._sequence(replica, request, now, prompt, output))

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
