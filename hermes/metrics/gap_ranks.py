"""Mean and percentiles of token gaps, without spelling the gaps out.

A log holds progressions, each of many gaps. How many gaps are at most so long follows from each
progression in closed form, so the gap at a rank is found by bisection, and memory and time grow
with the progressions and not with the tokens.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from hermes.metrics.gaps import TokenGaps
from hermes.metrics.quantiles import describe, describe_ranked

__all__ = ["RankedGaps", "describe_gaps"]

_FEW = 4096  # gaps that are sooner sorted than bisected
_HALF = 24
_CHUNK = 1 << 16

Integers = NDArray[np.int64]


def describe_gaps(parts: Iterable[TokenGaps], scale: float) -> dict[str, float | None]:
    """Return mean and percentiles of every gap of several logs; None where there are none.

    Args:
        parts: The logs.
        scale: Divides each gap, to change its unit.
    """
    gaps = RankedGaps(TokenGaps.columns(parts))
    if not gaps.total:
        return describe(())
    return describe_ranked(gaps.sum / scale / gaps.total, gaps.total, scale, gaps.at)


class RankedGaps:
    """Gaps of which any can be asked for by its rank.

    Args:
        runs: Rows as from `TokenGaps.columns`.
    """

    __slots__ = (
        "_delta",
        "_ends",
        "_first",
        "_firsts",
        "_last",
        "_steps",
        "_weight",
        "sum",
        "total",
    )

    def __init__(self, runs: Integers) -> None:
        first, delta, steps, sequences = runs
        each = steps * sequences
        self.total = int(each.sum())
        self.sum = _dot(first, each) + _dot(delta, each * (steps - 1) // 2)
        # steps that a measured table makes shorter as contexts grow are told from their end
        first = np.where(delta < 0, first + delta * (steps - 1), first)
        delta = np.abs(delta)
        alike = (delta == 0) | (steps == 1)
        self._first = first
        self._delta = np.where(alike, 1, delta)
        self._steps = np.where(alike, 1, steps)
        self._weight = np.where(alike, each, sequences)  # of each step
        self._last = first + self._delta * (self._steps - 1)
        self._firsts = _Ranked(first, each)
        self._ends = _Ranked(self._last, each)

    def at(self, rank: int) -> int:
        """Return the gap at a rank, from 0, in ascending order."""
        low, high = self._firsts.at(rank), self._ends.at(rank)
        near = (self._last >= low) & (self._first <= high)
        columns = (self._first, self._delta, self._steps, self._weight, self._last)
        first, delta, steps, weight, last = (column[near] for column in columns)
        rank -= self._ends.before(low)
        while low < high and int(steps.sum()) > _FEW:
            middle = (low + high) // 2
            upto = np.clip((middle - first) // delta + 1, 0, steps)
            if int(np.dot(upto, weight)) > rank:
                high = middle
                near = first <= high
            else:
                low = middle + 1
                near = last >= low
                rank -= int(np.dot(steps[~near], weight[~near]))
            first, delta, steps, weight, last = (
                column[near] for column in (first, delta, steps, weight, last)
            )
        return low if low == high else _spelt_out(first, delta, steps, weight, rank)


class _Ranked:
    """Values with weights, in order."""

    __slots__ = ("_upto", "_values")

    def __init__(self, values: Integers, weights: Integers) -> None:
        order = np.argsort(values)
        self._values = values[order]
        self._upto = np.cumsum(weights[order])

    def at(self, rank: int) -> int:
        """Return the value at a rank."""
        return int(self._values[np.searchsorted(self._upto, rank, side="right")])

    def before(self, value: int) -> int:
        """Return the weight of the values below one."""
        position = int(np.searchsorted(self._values, value))
        return int(self._upto[position - 1]) if position else 0


def _spelt_out(
    first: Integers, delta: Integers, steps: Integers, weight: Integers, rank: int
) -> int:
    ends = np.cumsum(steps)
    index = np.arange(ends[-1]) - np.repeat(ends - steps, steps)
    gaps = np.repeat(first, steps) + np.repeat(delta, steps) * index
    return _Ranked(gaps, np.repeat(weight, steps)).at(rank)


def _dot(values: Integers, counts: Integers) -> int:
    """Return the sum of `values * counts`, exactly: 64 bits may not hold it."""
    low, total = (1 << _HALF) - 1, 0
    for begin in range(0, len(values), _CHUNK):
        some, times = values[begin : begin + _CHUNK], counts[begin : begin + _CHUNK]
        total += int(np.dot(some >> _HALF, times)) << _HALF
        total += int(np.dot(some & low, times))
    return total
