"""Gaps between tokens, kept as arithmetic progressions instead of one number a token."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable

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

    def log(self) -> Callable[[tuple[int, int, int, int]], None]:
        """Return what adds the four numbers that `add` takes, as a tuple, with one call less."""
        return self._runs.extend

    @staticmethod
    def columns(parts: Iterable[TokenGaps]) -> NDArray[np.int64]:
        """Return the runs of several logs as rows: first, delta, steps, sequences."""
        logs = [np.frombuffer(part._runs, np.int64) for part in parts if part._runs]
        runs = np.concatenate(logs) if logs else np.empty(0, np.int64)
        return np.ascontiguousarray(runs.reshape(-1, _FIELDS).T)

    @staticmethod
    def gathered(parts: Iterable[TokenGaps]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the distinct step gaps of several logs, ascending, and how often each was seen."""
        first, delta, steps, sequences = TokenGaps.columns(parts)
        ends = np.cumsum(steps)
        index = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - steps, steps)
        gaps = np.repeat(first, steps) + np.repeat(delta, steps) * index
        order = np.argsort(gaps)
        return gaps[order], np.repeat(sequences, steps)[order]
