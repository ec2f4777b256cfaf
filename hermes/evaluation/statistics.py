"""Intervals: how far a number that a simulation found may lie from the one it looks for.

All are for 95 % confidence: Student's t interval of a mean over independent replicates, or over
batches of one run that are long enough to be nearly so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["half_width", "mean", "t_quantile"]

_Z = 1.959963984540054
_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045,
)  # fmt: skip


def t_quantile(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t."""
    if freedom <= len(_T):
        return _T[freedom - 1]
    # Cornish and Fisher's expansion; beyond 29 degrees it is right to four digits.
    z, n = _Z, freedom
    return z + (z**3 + z) / (4 * n) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)


def mean(values: Sequence[float]) -> float:
    """Return the mean; the same in any order."""
    return math.fsum(values) / len(values)


def half_width(values: Sequence[float]) -> float | None:
    """Return half the width of the mean's interval; None for fewer than two values."""
    count = len(values)
    if count < 2:
        return None
    centre = mean(values)
    variance = math.fsum((value - centre) ** 2 for value in values) / (count - 1)
    return t_quantile(count - 1) * math.sqrt(variance / count)
