"""Classes of requests: tenants, or kinds of service, each with a share, a priority and an SLO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hermes.errors import InputError
from hermes.scenario.scenario import Scenario, SloSpec
from hermes.scenario.units import seconds_to_ticks
from hermes.workload import Workload
from hermes.workload.choices import choose
from hermes.workload.streams import stream
from hermes.workload.workload import Column

__all__ = ["RateLimits", "RequestClass", "RequestClasses", "classes_of", "rate_limits"]

_COLUMN = "tenant"


@dataclass(frozen=True, slots=True)
class RequestClass:
    """What the requests of a class have in common.

    Attributes:
        number: Position among the classes.
        name: Its name.
        share: Of the service, relative to the others.
        priority: Smaller is more urgent; None: what the workload says.
        slo: What counts as good service.
        interval: Ticks in which its bucket gets one token; None: it has none.
        burst: Tokens that its bucket holds.
    """

    number: int
    name: str
    share: float
    priority: int | None
    slo: SloSpec
    interval: int | None = None
    burst: int = 1

    @property
    def ttft_ticks(self) -> int:
        """Time to first token that its SLO allows, for deadlines."""
        return seconds_to_ticks((self.slo.ttft_ms or 0) / 1000)


@dataclass(frozen=True, slots=True, eq=False)
class RequestClasses:
    """The classes, and which one each request is of."""

    classes: tuple[RequestClass, ...]
    numbers: Column

    def of(self, request: int) -> RequestClass:
        """Return the class of a request."""
        return self.classes[int(self.numbers[request])]


class RateLimits:
    """The token bucket of each class that has one, as the tick at which it will be full.

    Args:
        classes: Of the requests.
    """

    def __init__(self, classes: RequestClasses) -> None:
        self._classes = classes
        self._full = [0] * len(classes.classes)

    def lets_in(self, request: int, now: int) -> bool:
        """Take a token for a request that comes now; false where there is none."""
        kind = self._classes.of(request)
        if kind.interval is None:
            return True
        full = max(self._full[kind.number], now)
        if full - now > (kind.burst - 1) * kind.interval:
            return False
        self._full[kind.number] = full + kind.interval
        return True


def rate_limits(classes: RequestClasses | None) -> RateLimits | None:
    """Return the buckets of some classes; None where no class has one."""
    if classes is None or all(kind.interval is None for kind in classes.classes):
        return None
    return RateLimits(classes)


def classes_of(scenario: Scenario, workload: Workload) -> RequestClasses | None:
    """Return the class of each request; None where all are alike.

    Raises:
        InputError: the workload has no tenants, or one that is of no class.
    """
    specs = scenario.classes
    if not specs:
        return None
    classes = tuple(
        RequestClass(
            number,
            name,
            spec.share,
            spec.priority,
            spec.slo or scenario.slo,
            None if spec.max_rate_per_s is None else seconds_to_ticks(1 / spec.max_rate_per_s),
            spec.max_burst,
        )
        for number, (name, spec) in enumerate(specs.items())
    )
    tenants = [spec.tenant for spec in specs.values() if spec.tenant is not None]
    if tenants:
        return RequestClasses(classes, _by_tenant(tenants, workload))
    drawn = stream(scenario.seed, "workload", "class").random(len(workload))
    numbers = choose([spec.weight for spec in specs.values()], drawn)
    return RequestClasses(classes, numbers.astype(np.int64))


def _by_tenant(tenants: Sequence[int], workload: Workload) -> Column:
    column = workload.attributes.get(_COLUMN)
    if column is None:
        has = ", ".join(workload.attributes) or "none"
        raise InputError(
            f"the workload has no column 'attribute.{_COLUMN}' (columns: {has})", "classes"
        )
    position = {tenant: number for number, tenant in enumerate(tenants)}
    found = [position.get(tenant, -1) for tenant in column.tolist()]
    if -1 in found:
        request = found.index(-1)
        raise InputError(
            f"request {request} is of tenant {column[request]}, which is no class's (tenants: "
            f"{', '.join(map(str, tenants))})",
            "classes",
        )
    return np.array(found, np.int64)
