"""The steps that a replica took, kept so that one can say afterwards what their time rests on.

A block of steps costs six integers. Read back, steps whose sequences and tokens lie in the same
octaves, and whose contexts in the same two octaves, count as one shape in the middle of them: a run
of any length has few.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable

import numpy as np

from hermes.costs.provenance import StepShape

__all__ = ["StepLog", "step_shapes"]

_FIELDS = 6
_WIDE = (1, 3, 4)  # fields that are told apart by two octaves
_BASE = 64  # octaves of a whole number in 64 bits
_PLACES = _BASE ** np.arange(_FIELDS - 2, -1, -1)


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
    octaves[:, _WIDE] = (octaves[:, _WIDE] + 1) // 2
    packed = octaves.astype(np.int64) @ _PLACES
    shapes, index = np.unique(packed, return_inverse=True)
    steps = np.zeros(len(shapes), np.int64)
    np.add.at(steps, index, rows[:, 5])
    unpacked = (shapes[:, None] // _PLACES % _BASE).tolist()
    return [(_shape(*each), count) for each, count in zip(unpacked, steps.tolist(), strict=True)]


def _shape(decodes: int, context: int, tokens: int, before: int, pairs: int) -> StepShape:
    """Return the middle of some octaves; the wide ones begin at 1, 4, 16, ..."""
    fresh = _octave(tokens)
    return StepShape(
        _octave(decodes),
        _two_octaves(context),
        fresh,
        _two_octaves(before),
        max(_two_octaves(pairs), fresh),
    )


def _octave(number: int) -> int:
    return (3 << number) // 4


def _two_octaves(number: int) -> int:
    return (1 << 2 * number) // 2
