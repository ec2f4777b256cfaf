"""Gaps between tokens, kept as arithmetic progressions instead of one number a token."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

__all__ = ["TokenGaps"]

_FIELDS = 4


class TokenGaps:
    """A multiset of inter-token gaps in ticks.

    A run of decode steps at a fixed batch gives every member the gaps `first`, `first + delta`,
    and so on, one a step: four integers, however many tokens.
    """

    __slots__ = ("_runs",)

    def __init__(self) -> None:
        self._runs = array("q")

    def add(self, first: int, delta: int, steps: int, sequences: int) -> None:
        """Add the gaps of `steps` steps, each seen by `sequences` sequences."""
        self._runs.extend((first, delta, steps, sequences))

    @staticmethod
    def gathered(parts: Iterable[TokenGaps]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the distinct step gaps of several logs, ascending, and how often each was seen."""
        runs = array("q")
        for part in parts:
            runs.extend(part._runs)
        first, delta, steps, sequences = np.array(runs, np.int64).reshape(-1, _FIELDS).T
        ends = np.cumsum(steps)
        index = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - steps, steps)
        gaps = np.repeat(first, steps) + np.repeat(delta, steps) * index
        order = np.argsort(gaps)
        return gaps[order], np.repeat(sequences, steps)[order]
