"""Interpolation between measured calls, on logarithmic axes, one axis after the other.

What is interpolated is the ratio of the measured time to the roofline's, which is the inverse of a
utilisation and changes slowly. Outside what was measured the ratio of the edge holds, so that the
roofline continues the table. Axes may be ragged: each value of one axis has its own of the next.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import NamedTuple

__all__ = ["EXTRAPOLATED", "INTERPOLATED", "MEASURED", "CallGrid", "Reading"]

MEASURED, INTERPOLATED, EXTRAPOLATED = 0, 1, 2
_NEAR = 1e-9

Shape = tuple[float, ...]


class Reading(NamedTuple):
    """A ratio, and whether it was measured, interpolated or extrapolated."""

    ratio: float
    how: int


class CallGrid:
    """Times at measured shapes, read anywhere as ratios to what is expected there."""

    __slots__ = ("_axis", "_children", "_leaves")

    def __init__(self, seconds: Mapping[Shape, float], depth: int = 0) -> None:
        """Sort *seconds* by shape; shapes have one length and agree before *depth*."""
        groups: dict[float, dict[Shape, float]] = {}
        for shape, time in seconds.items():
            groups.setdefault(shape[depth], {})[shape] = time
        values = sorted(groups)
        self._axis = [math.log(value) for value in values]
        last = len(next(iter(seconds))) == depth + 1
        self._leaves = [next(iter(groups[value].items())) for value in values] if last else []
        self._children = [] if last else [CallGrid(groups[value], depth + 1) for value in values]

    def read(self, logs: Shape, expected: Callable[[Shape], float]) -> Reading:
        """Return measured over expected time at a shape.

        Args:
            logs: The logarithms of its coordinates.
            expected: The time that a measured shape was expected to take.
        """
        axis, x = self._axis, logs[0]
        high = min(bisect_right(axis, x + _NEAR), len(axis) - 1)
        low = max(high - 1, 0)
        if abs(axis[high] - x) <= _NEAR:
            low = high
        if abs(axis[low] - x) <= _NEAR or low == high:
            found = self._at(low, logs, expected)
            how = MEASURED if abs(axis[low] - x) <= _NEAR else EXTRAPOLATED
            return Reading(found.ratio, max(found.how, how))
        if x < axis[low] or x > axis[high]:
            found = self._at(low if x < axis[low] else high, logs, expected)
            return Reading(found.ratio, EXTRAPOLATED)
        below, above = self._at(low, logs, expected), self._at(high, logs, expected)
        share = (x - axis[low]) / (axis[high] - axis[low])
        ratio = below.ratio * (1 - share) + above.ratio * share
        return Reading(ratio, max(below.how, above.how, INTERPOLATED))

    def _at(self, index: int, logs: Shape, expected: Callable[[Shape], float]) -> Reading:
        if self._leaves:
            shape, seconds = self._leaves[index]
            return Reading(seconds / expected(shape), MEASURED)
        return self._children[index].read(logs[1:], expected)
