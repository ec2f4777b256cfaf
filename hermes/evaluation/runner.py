"""Runs one deployment under seeds and loads that vary, and stops a run whose verdict is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from hermes.metrics.summary import good_requests
from hermes.scenario.arrivals import ArrivalSpec
from hermes.scenario.scenario import Scenario, SloSpec
from hermes.scenario.units import TICKS_PER_MILLISECOND
from hermes.scenario.workload import WorkloadSpec
from hermes.sim.deployment import Deployment
from hermes.sim.simulation import SimulationResult, simulate_deployment
from hermes.workload import Workload

__all__ = [
    "Runner",
    "Tally",
    "Verdict",
    "meets",
    "needed",
    "pipelines_are_calls",
    "warm_up_count",
]


Finished = Callable[[int, int, int, int], None]


@dataclass(slots=True)
class Tally:
    """What an evaluation cost: simulations, requests asked for, and requests they got to."""

    simulations: int = 0
    offered: int = 0
    finished: int = 0

    def add(self, other: Tally) -> None:
        """Count what another evaluation cost as well."""
        self.simulations += other.simulations
        self.offered += other.offered
        self.finished += other.finished

    @property
    def saved(self) -> float:
        """Share of the requests that did not have to be simulated."""
        return 1 - self.finished / self.offered if self.offered else 0.0


class _DecidedError(Exception):
    """A simulation's verdict is certain; ends it from within."""


class Verdict:
    """Counts good and missed requests while they finish, until their share is certain.

    Args:
        slo: What a good request is.
        workload: The requests.
        skip: The first so many do not count.
    """

    def __init__(self, slo: SloSpec, workload: Workload, skip: int) -> None:
        self._slo = slo
        self._skip = skip
        self._outputs = workload.output_tokens.tolist()
        total = len(self._outputs) - skip
        self._needed = needed(slo.attainment, total)
        self._spare = total - self._needed
        self._good = self._missed = 0
        self.finished = 0

    @property
    def holds(self) -> bool:
        """Whether the attainment is reached."""
        return self._good >= self._needed

    def __call__(self, request: int, arrival: int, first: int, last: int) -> None:
        """Take a finished request into account; the metrics' own arithmetic, one at a time."""
        self.finished += 1
        if request < self._skip:
            return
        if meets(self._slo, self._outputs[request], arrival, first, last):
            self._good += 1
        else:
            self._missed += 1
        if self._missed > self._spare or self._good >= self._needed:
            raise _DecidedError


@dataclass(frozen=True, slots=True)
class Runner:
    """A candidate, ready to be simulated as often as it takes.

    Attributes:
        scenario: The scenario.
        deployment: Its deployment, resolved.
        build: Builds the requests of a workload block under a seed.
        tally: What it cost so far.
    """

    scenario: Scenario
    deployment: Deployment
    build: Callable[[WorkloadSpec, int], Workload]
    tally: Tally = field(default_factory=Tally)

    def workload(self, seed: int, arrivals: ArrivalSpec | None = None) -> Workload:
        """Return the requests under a seed, at other arrivals where given."""
        spec = self.scenario.workload
        if arrivals is not None:
            spec = spec.model_copy(update={"arrivals": arrivals})
        return self.build(spec, seed)

    def run(
        self, seed: int, workload: Workload, on_finished: Finished | None = None
    ) -> SimulationResult:
        """Simulate to the end, unless `on_finished` ends it before by raising."""
        size = len(workload.arrival_ticks)
        self._count(size, size)
        return simulate_deployment(
            self._seeded(seed), self.deployment, workload, on_finished=on_finished
        )

    def holds(self, seed: int, workload: Workload, skip: int) -> bool:
        """Return whether the SLO attainment holds, simulating no more than it takes to know.

        The answer is that of the whole simulation, not an estimate of it.
        """
        slo, size = self.scenario.slo, len(workload.arrival_ticks)
        later = slo.tpot_ms is not None and not pipelines_are_calls(self.deployment, workload)
        if later or self.scenario.classes:
            # What a token of an answer took is known when all stages are, and which SLO a request
            # has is known to its class: nothing to stop at.
            requests = self.run(seed, workload).requests.between(skip, None)
            good = int(np.count_nonzero(good_requests(requests, slo)))
            return good >= needed(slo.attainment, size - skip)
        verdict = Verdict(slo, workload, skip)
        try:
            simulate_deployment(self._seeded(seed), self.deployment, workload, on_finished=verdict)
        except _DecidedError:
            self._count(size, verdict.finished)
        else:
            self._count(size, size)
        return verdict.holds

    def _seeded(self, seed: int) -> Scenario:
        return self.scenario.model_copy(update={"seed": seed})

    def _count(self, offered: int, finished: int) -> None:
        self.tally.simulations += 1
        self.tally.offered += offered
        self.tally.finished += finished


def warm_up_count(share: float, requests: int) -> int:
    """Return how many requests warm the system up; at least one is left to count."""
    return min(int(share * requests), requests - 1)


def needed(attainment: float, total: int) -> int:
    """Return the fewest good requests whose share reaches the attainment."""
    needed = max(0, int(attainment * total) - 1)
    while needed / total < attainment:
        needed += 1
    return needed


def meets(slo: SloSpec, outputs: int, arrival: int, first: int, last: int) -> bool:
    """Return whether a request is good; the metrics' own arithmetic, one at a time."""
    tpot = _ms(last - first) / (outputs - 1) if outputs > 1 else 0.0
    return not (
        (slo.ttft_ms is not None and _ms(first - arrival) > slo.ttft_ms)
        or (slo.tpot_ms is not None and tpot > slo.tpot_ms)
        or (slo.e2el_ms is not None and _ms(last - arrival) > slo.e2el_ms)
    )


def pipelines_are_calls(deployment: Deployment, workload: Workload) -> bool:
    """Return whether each pipeline is one model call, so that its answer ends the request."""
    plans = (deployment.pipelines[name] for name in workload.pipeline_names)
    return all(plan.only_call is not None for plan in plans)


def _ms(ticks: int) -> float:
    return float(ticks) / TICKS_PER_MILLISECOND
