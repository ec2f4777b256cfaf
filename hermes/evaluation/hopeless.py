"""Ending a simulation whose limit is certainly missed, however the rest of it would go.

A percentile is above its limit once so many requests are that no others could bring it down; a
mean, once the sum is. What is said is certain, not likely: a test compares it with whole
simulations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hermes.evaluation.runner import meets, needed, pipelines_are_calls
from hermes.metrics.quantiles import PERCENTILES
from hermes.scenario.scenario import SloSpec
from hermes.scenario.units import TICKS_PER_MILLISECOND
from hermes.sim.deployment import Deployment
from hermes.workload import Workload

__all__ = ["Bound", "Hopeless", "HopelessError"]

_Value = Callable[[int, int, int, int], float | None]
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Bound:
    """A limit on a metric, `<=` or `>=`."""

    metric: str
    sign: str
    limit: float


class HopelessError(Exception):
    """A simulation's limit is certainly missed; ends it from within."""


@dataclass(slots=True)
class _Watch:
    """One limit, and how near it is to being missed.

    Attributes:
        bound: The limit.
        value: What a finished request adds: its latency.
        most: So many requests above the limit are too many; None where it is on the mean.
        budget: So large a sum is too much, where it is on the mean.
    """

    bound: Bound
    value: _Value
    most: int | None
    budget: float
    above: int = 0
    total: float = 0.0

    def missed(self, request: int, arrival: int, first: int, last: int) -> bool:
        """Take a finished request into account; return whether the limit is missed for certain."""
        value = self.value(request, arrival, first, last)
        if value is None:
            return False
        if self.most is None:
            self.total += value
            return self.total > self.budget
        self.above += value > self.bound.limit
        return self.above >= self.most


@dataclass(slots=True)
class Hopeless:
    """Hears of requests as they finish, and raises once a limit is certainly missed.

    Args:
        bounds: The limits; those that say nothing of requests as they finish are left out.
        slo: What a good request is.
        workload: The requests.
        deployment: What serves them.
    """

    bounds: tuple[Bound, ...]
    slo: SloSpec
    workload: Workload
    deployment: Deployment
    finished: int = 0
    _watches: list[_Watch] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._watches = [watch for bound in self.bounds if (watch := self._watch(bound))]

    def __call__(self, request: int, arrival: int, first: int, last: int) -> None:
        """Take a finished request into account."""
        self.finished += 1
        for watch in self._watches:
            if watch.missed(request, arrival, first, last):
                raise HopelessError(
                    f"{watch.bound.metric} is certain to miss {watch.bound.sign} "
                    f"{watch.bound.limit:.15g} after {self.finished:,} of {len(self.workload):,} "
                    "requests"
                )

    def _watch(self, bound: Bound) -> _Watch | None:
        size = len(self.workload)
        kind, _, statistic = bound.metric.partition(".")
        calls = pipelines_are_calls(self.deployment, self.workload)
        outputs = self.workload.output_tokens.tolist()
        if bound.metric == "slo_attainment" and bound.sign == ">=" and calls:
            spare = size - needed(bound.limit, size)
            flipped = Bound(bound.metric, bound.sign, bound.limit)
            return _Watch(flipped, _Missed(self.slo, outputs, bound.limit), spare + 1, 0.0)
        if bound.sign != "<=":
            return None
        value: _Value
        if kind == "ttft_ms":
            value = _ttft
        elif kind == "e2el_ms":
            value = _e2el
        elif kind == "tpot_ms" and calls:
            value = _Tpot(outputs)
        else:
            return None
        if statistic == "mean":
            return _Watch(bound, value, None, max(bound.limit, 0.0) * size * (1 + _ROUNDING))
        percent = int(statistic[1:])
        if percent not in PERCENTILES:
            return None
        return _Watch(bound, value, size - int((size - 1) * percent / 100), 0.0)


@dataclass(frozen=True, slots=True)
class _Tpot:
    outputs: list[int]

    def __call__(self, request: int, arrival: int, first: int, last: int) -> float | None:
        tokens = self.outputs[request]
        return _ms(last - first) / (tokens - 1) if tokens > 1 else None


@dataclass(frozen=True, slots=True)
class _Missed:
    """Above any limit on the attainment for a request that misses the SLO, else below."""

    slo: SloSpec
    outputs: list[int]
    limit: float

    def __call__(self, request: int, arrival: int, first: int, last: int) -> float:
        good = meets(self.slo, self.outputs[request], arrival, first, last)
        return self.limit - 1 if good else self.limit + 1


def _ttft(request: int, arrival: int, first: int, last: int) -> float:
    return _ms(first - arrival)


def _e2el(request: int, arrival: int, first: int, last: int) -> float:
    return _ms(last - arrival)


def _ms(ticks: int) -> float:
    return float(ticks) / TICKS_PER_MILLISECOND
