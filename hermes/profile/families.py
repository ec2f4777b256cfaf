"""The families of operators, their shares of the time, and the points of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

from hermes.catalog import Model
from hermes.errors import UnknownNameError
from hermes.profile.budget import Family
from hermes.profile.physics import Peaks
from hermes.profile.point import Point
from hermes.profile.reach import Reach
from hermes.profile.shapes_other import (
    copy_points,
    elementwise_points,
    encoder_points,
    sampling_points,
    search_points,
    storage_points,
)
from hermes.profile.shapes_step import (
    attention_points,
    expert_points,
    linear_points,
)

__all__ = ["FAMILIES", "plan_families"]

Points = Callable[[Sequence[Model], Reach], list[Point]]

FAMILIES: Mapping[str, tuple[float, Points]] = MappingProxyType(
    {
        "linear": (0.38, linear_points),
        "attention": (0.26, attention_points),
        "elementwise": (0.10, elementwise_points),
        "experts": (0.10, expert_points),
        "sampling": (0.05, sampling_points),
        "encoder": (0.04, encoder_points),
        "copies": (0.02, copy_points),
        "storage": (0.02, storage_points),
        "search": (0.03, search_points),
    }
)
"""Share of the time, and what there is to measure. Collectives are measured apart, by a process a
device."""


def plan_families(
    names: Iterable[str], models: Sequence[Model], reach: Reach, peaks: Peaks
) -> list[Family]:
    """Return the families called *names*, without points that would take too long or not fit.

    Raises:
        UnknownNameError: There is no family of that name.
    """
    found = []
    for name in names or FAMILIES:
        if name not in FAMILIES:
            raise UnknownNameError.among("operator", name, [*FAMILIES, "collectives"], "operators")
        share, points = FAMILIES[name]
        possible = [
            each
            for each in points(models, reach)
            if peaks.least_seconds(each) <= reach.call_seconds
            and each.cold_bytes <= reach.memory_bytes
        ]
        found.append(Family(name, share, possible))
    return found
