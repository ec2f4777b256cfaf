"""Percentiles as NumPy's default and vLLM's benchmark define them: linear interpolation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import fsum

import numpy as np
from numpy.typing import NDArray

__all__ = ["PERCENTILES", "describe", "describe_ranked"]

PERCENTILES = (50, 90, 95, 99)


def describe(values: Sequence[float] | NDArray[np.float64]) -> dict[str, float | None]:
    """Return mean and percentiles of `values`; None where there are none."""
    if not len(values):
        return {"mean": None, **{f"p{p}": None for p in PERCENTILES}}
    ordered: list[float] = np.sort(np.asarray(values, np.float64)).tolist()
    result: dict[str, float | None] = {"mean": fsum(ordered) / len(ordered)}
    for percent in PERCENTILES:
        rank = (len(ordered) - 1) * percent / 100
        low = int(rank)
        high = min(low + 1, len(ordered) - 1)
        result[f"p{percent}"] = ordered[low] + (ordered[high] - ordered[low]) * (rank - low)
    return result


def describe_ranked(
    mean: float, total: int, scale: float, at: Callable[[int], int]
) -> dict[str, float | None]:
    """Describe `total` integers whose mean is known, and any of which can be asked for.

    Args:
        mean: Their mean, in the unit that is reported.
        total: How many there are; not 0.
        scale: Divides each, to change its unit.
        at: Returns the one at a rank, from 0, in ascending order.
    """
    result: dict[str, float | None] = {"mean": mean}
    for percent in PERCENTILES:
        rank = (total - 1) * percent / 100
        low = int(rank)
        below, above = at(low) / scale, at(min(low + 1, total - 1)) / scale
        result[f"p{percent}"] = below + (above - below) * (rank - low)
    return result
