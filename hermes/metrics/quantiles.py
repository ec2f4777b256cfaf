"""Percentiles as NumPy's default and vLLM's benchmark define them: linear interpolation."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum

import numpy as np
from numpy.typing import NDArray

__all__ = ["PERCENTILES", "describe", "describe_weighted"]

PERCENTILES = (50, 90, 95, 99)
_HALF = 24


def describe(values: Sequence[float]) -> dict[str, float | None]:
    """Return mean and percentiles of `values`; None where there are none."""
    if not len(values):
        return {"mean": None, **{f"p{p}": None for p in PERCENTILES}}
    ordered = sorted(values)
    result: dict[str, float | None] = {"mean": fsum(ordered) / len(ordered)}
    for percent in PERCENTILES:
        rank = (len(ordered) - 1) * percent / 100
        low = int(rank)
        high = min(low + 1, len(ordered) - 1)
        result[f"p{percent}"] = ordered[low] + (ordered[high] - ordered[low]) * (rank - low)
    return result


def describe_weighted(
    values: NDArray[np.int64], counts: NDArray[np.int64], scale: float
) -> dict[str, float | None]:
    """Describe a multiset given as ascending values and how often each occurs.

    Args:
        values: Distinct values, ascending.
        counts: Occurrences of each.
        scale: Divides each value, to change its unit.
    """
    if not len(values):
        return describe(())
    upto = np.cumsum(counts)
    total = int(upto[-1])
    result: dict[str, float | None] = {"mean": _weighted_sum(values, counts) / scale / total}
    for percent in PERCENTILES:
        rank = (total - 1) * percent / 100
        low = int(rank)
        first, second = np.searchsorted(upto, [low, min(low + 1, total - 1)], side="right")
        below, above = int(values[first]) / scale, int(values[second]) / scale
        result[f"p{percent}"] = below + (above - below) * (rank - low)
    return result


def _weighted_sum(values: NDArray[np.int64], counts: NDArray[np.int64]) -> int:
    """Return the sum of `values * counts`, exactly: 64 bits may not hold it."""
    low = (1 << _HALF) - 1
    return (int(np.dot(values >> _HALF, counts)) << _HALF) + int(np.dot(values & low, counts))
