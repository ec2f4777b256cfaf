"""The steps that a replica took, kept so that one can say afterwards what their time rests on.

A block of steps costs six integers. Read back, steps whose aggregates lie in the same octaves count
as one shape in the middle of them: a run of any length has a few dozen.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable

import numpy as np

from hermes.costs.provenance import StepShape

__all__ = ["StepLog", "step_shapes"]

_FIELDS = 6
_MIDDLE = 1.5  # of an octave that begins at 1


class StepLog:
    """The batches of a replica's steps."""

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        self._rows = array("q")

    def note(self) -> Callable[[tuple[int, int, int, int, int, int]], None]:
        """Return what notes a batch and how many steps it ran: a `StepShape` and a number.

        The context is that of the first step.
        """
        return self._rows.extend

    @staticmethod
    def rows(logs: Iterable[StepLog]) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
        """Return the notes of several logs, one after the other."""
        parts = [np.frombuffer(log._rows, np.int64) for log in logs if log._rows]
        whole = np.concatenate(parts) if parts else np.empty(0, np.int64)
        return whole.reshape(-1, _FIELDS)


def step_shapes(logs: Iterable[StepLog]) -> list[tuple[StepShape, int]]:
    """Return the shapes of the steps in several logs, in order, and how many steps had each."""
    rows = StepLog.rows(logs).copy()
    if not len(rows):
        return []
    rows[:, 1] += rows[:, 0] * rows[:, 5] // 2  # halfway through the block
    octaves = np.frexp(rows[:, :5].astype(np.float64))[1]  # 0 for nothing, 1 for 1, 2 for 2 and 3
    shapes, index = np.unique(octaves, axis=0, return_inverse=True)
    steps = np.zeros(len(shapes), np.int64)
    np.add.at(steps, index.reshape(-1), rows[:, 5])
    return [
        (_shape(*each), count) for each, count in zip(shapes.tolist(), steps.tolist(), strict=True)
    ]


def _shape(*octaves: int) -> StepShape:
    """Return the middle of some octaves."""
    decodes, context, tokens, before, pairs = (
        0 if octave == 0 else int(_MIDDLE * 2 ** (octave - 1)) for octave in octaves
    )
    return StepShape(decodes, context, tokens, before, max(pairs, tokens))
