"""Capacity: the highest load at which a deployment still meets its SLO.

The load is what the scenario's arrivals are scaled by: the rate of a random process, the `scale`
of a trace. Every load meets the same requests, and the same draws at another rate (common random
numbers), so attainment falls almost smoothly as the load rises and a search need not fight noise.

In a closed loop the load is the number of users, each with at most one request under way.

Loads are steps of a geometric ladder through the scenario's own load. The search strides along it
until one load holds and another does not, then halves between them. It asks only whether the
attainment holds, and a simulation ends as soon as that is certain: an overloaded one after the
first requests too many have missed, however many are still to come. The verdict is exact.

Near saturation the requests of one run rise and fall together, so one run says little about how
far off it is: batches of it are no sample (an interval from ten of them held the truth 55 times of
100). The interval therefore comes from replicates: each seed has its own capacity, and they are as
independent as the seeds. A later seed starts to look where the ones before ended.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from hermes.errors import InputError
from hermes.evaluation.replicates import aggregated, counted, enough
from hermes.evaluation.runner import Runner, warm_up_count
from hermes.evaluation.spec import CapacitySpec, EvaluationSpec
from hermes.metrics import METRICS, Metric
from hermes.metrics.summary import Number
from hermes.scenario.arrivals import (
    ArrivalSpec,
    BurstArrivals,
    ClosedLoopArrivals,
    DiurnalArrivals,
    PiecewiseArrivals,
    TraceArrivals,
)
from hermes.scenario.scenario import Scenario
from hermes.scenario.units import TICKS_PER_SECOND
from hermes.workload import Workload

__all__ = ["CAPACITY_METRICS", "arrivals_problem", "capacity", "ladder_search", "scaled"]

_METRICS = (
    Metric("capacity_request_rate", "req/s", "maximize", "highest rate that meets the SLO"),
    Metric("capacity_load", "", "maximize", "the arrivals' rate, scale or users at capacity"),
    Metric("capacity_goodput", "req/s", "maximize", "requests/s that meet the SLO at capacity"),
    Metric("goodput_per_device", "req/s", "maximize", "capacity_goodput per device"),
    Metric("goodput_per_usd", "req", "maximize", "requests that meet the SLO for a dollar"),
)
CAPACITY_METRICS = MappingProxyType({metric.name: metric for metric in _METRICS})
"""What a capacity search finds, beside the metrics of a simulation at the capacity."""

_MOST_USERS = 10_000_000
_FARTHEST_OCTAVES = 12
_OCTAVES = (1, 3, 7, _FARTHEST_OCTAVES)  # strides of the first seed's search


def arrivals_problem(scenario: Scenario) -> InputError | None:
    """Return why a scenario's capacity cannot be searched for, if so."""
    slo = scenario.slo
    if slo.ttft_ms is None and slo.tpot_ms is None and slo.e2el_ms is None:
        return InputError("a capacity needs a limit to hold: ttft_ms, tpot_ms or e2el_ms", "slo")
    try:
        scaled(scenario, 1.0)
    except InputError as error:
        return error
    return None


def scaled(scenario: Scenario, factor: float) -> tuple[ArrivalSpec, float]:
    """Return the scenario's arrivals at a multiple of their load, and that load as written there.

    Raises:
        InputError: The arrivals have no load.
    """
    arrivals = scenario.workload.arrivals or TraceArrivals(process="trace")
    if isinstance(arrivals, BurstArrivals):
        raise InputError(
            "a burst has no rate to search; give poisson, gamma, constant, diurnal or piecewise "
            "arrivals, or a trace's own",
            "workload.arrivals",
        )
    if isinstance(arrivals, ClosedLoopArrivals):
        users = max(1, min(round(arrivals.users * factor), _MOST_USERS))
        return arrivals.model_copy(update={"users": users}), float(users)
    if isinstance(arrivals, PiecewiseArrivals):
        pieces = tuple(
            piece.model_copy(update={"rate_per_s": piece.rate_per_s * factor})
            for piece in arrivals.pieces
        )
        return arrivals.model_copy(update={"pieces": pieces}), factor
    name = "rate_per_s"
    if isinstance(arrivals, TraceArrivals):
        name = "scale"
    elif isinstance(arrivals, DiurnalArrivals):
        name = "mean_rate_per_s"
    written = getattr(arrivals, name, None)
    if written is None:
        raise InputError(
            f"arrivals by {arrivals.process!r} have no rate to search", "workload.arrivals"
        )
    load = float(f"{written * factor:.9g}")  # as one would write it, so that it can be run again
    return arrivals.model_copy(update={name: load}), load


def capacity(
    spec: EvaluationSpec, search: CapacitySpec, runner: Runner, watched: Sequence[str] = ()
) -> dict[str, Number]:
    """Search a candidate's capacity; return it with the metrics of a simulation at it.

    Seed after seed, until there are enough; see `EvaluationSpec.replicates`.

    Raises:
        InputError: Even thousands of times the scenario's load meet the SLO.
    """
    rule, first = spec.replicates, runner.scenario.seed
    names = (*METRICS, *CAPACITY_METRICS)
    found: list[dict[str, Number]] = []
    start: int | None = None
    for seed in range(first, first + rule.most):
        ladder = _Ladder(runner, search, seed, spec.warm_up)
        held = ladder.highest(start)
        found.append(ladder.nothing() if held is None else ladder.columns(held))
        start = held
        if enough(found, watched, rule):
            break
    return aggregated(found, names)


def ladder_search(holds: Callable[[int], bool], strides: list[int]) -> int | None:
    """Return a step that holds while the next one does not, looking from step 0 outwards.

    Args:
        holds: Whether a step holds; asked once a step.
        strides: Distances from 0 to try, ascending, before halving.

    Returns:
        The step; the last stride where all hold; None where even its opposite does not.
    """
    sign = 1 if holds(0) else -1
    near = 0
    for stride in strides:
        far = sign * stride
        if holds(far) != (sign == 1):
            break
        near = far
    else:
        return near if sign == 1 else None
    held, failed = (near, far) if sign == 1 else (far, near)
    while failed - held > 1:
        middle = (held + failed) // 2
        if holds(middle):
            held = middle
        else:
            failed = middle
    return held


@dataclass(slots=True)
class _Ladder:
    """The loads a seed is tried at, and what is known of them."""

    runner: Runner
    search: CapacitySpec
    seed: int
    warm_up: float
    _verdicts: dict[float, bool] = field(default_factory=dict)

    @property
    def octave(self) -> int:
        """Steps to the doubled load."""
        return math.ceil(math.log(2) / math.log1p(self.search.precision))

    def highest(self, start: int | None) -> int | None:
        """Return the highest step that holds; None where none does.

        Args:
            start: Where another seed's search ended.
        """
        far = _FARTHEST_OCTAVES * self.octave
        strides = [octaves * self.octave for octaves in _OCTAVES]
        if start is not None:
            strides = [stride for stride in (1, 3, 7, 15) if stride < self.octave] + strides
        origin = start or 0
        held = ladder_search(lambda step: self.holds(origin + step), strides)
        if held == far:
            raise InputError(
                f"the SLO holds even at {2**_FARTHEST_OCTAVES} times this load: simulate more "
                "requests, raise the arrivals' rate, or tighten the SLO",
                "workload.limit",
            )
        return None if held is None else origin + held

    def holds(self, step: int) -> bool:
        """Return whether the attainment holds at a load."""
        arrivals, load = self._scaled(step)
        if load not in self._verdicts:  # steps of a few users are the same load
            workload = self.runner.workload(self.seed, arrivals)
            skip = warm_up_count(self.warm_up, len(workload.arrival_ticks))
            self._verdicts[load] = self.runner.holds(self.seed, workload, skip)
        return self._verdicts[load]

    def columns(self, step: int) -> dict[str, Number]:
        """Return a load as the capacity, what follows from it, and its simulation's metrics."""
        workload = self._workload(step)
        skip = warm_up_count(self.warm_up, len(workload.arrival_ticks))
        result = self.runner.run(self.seed, workload)
        metrics = counted(result, self.runner.scenario.slo, skip)
        arrivals, load = self._scaled(step)
        rate = load
        if isinstance(arrivals, (TraceArrivals, PiecewiseArrivals)):
            rate = _mean_rate(workload) or load
        if isinstance(arrivals, ClosedLoopArrivals):
            rate = metrics["request_throughput"] or 0.0  # what so many users asked for
        return metrics | self._derived(load, rate, rate * (metrics["slo_attainment"] or 0.0))

    def nothing(self) -> dict[str, Number]:
        """Return the columns of a deployment that misses its SLO with hardly a request to serve."""
        metrics: dict[str, Number] = dict.fromkeys(METRICS)
        metrics["devices"] = self.runner.deployment.devices
        metrics["cost_per_hour"] = self.runner.deployment.usd_per_hour
        return metrics | self._derived(0.0, 0.0, 0.0)

    def _derived(self, load: float, rate: float, goodput: float) -> dict[str, Number]:
        price = self.runner.deployment.usd_per_hour
        return {
            "capacity_request_rate": rate,
            "capacity_load": load,
            "capacity_goodput": goodput,
            "goodput_per_device": goodput / self.runner.deployment.devices,
            "goodput_per_usd": goodput * 3600 / price if price else None,
        }

    def _workload(self, step: int) -> Workload:
        return self.runner.workload(self.seed, self._scaled(step)[0])

    def _scaled(self, step: int) -> tuple[ArrivalSpec, float]:
        return scaled(self.runner.scenario, math.pow(2.0, step / self.octave))


def _mean_rate(workload: Workload) -> float | None:
    times = workload.arrival_ticks
    ticks = int(times[-1] - times[0])
    return (len(times) - 1) / (ticks / TICKS_PER_SECOND) if ticks else None
