"""Orders of measurement: the ends of an axis first, then the middles, so that any part is a grid.

Whatever the time allows is then spread evenly, and a table that was cut short lacks detail rather
than range.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

__all__ = ["coarse_first", "levels", "powers", "product"]

T = TypeVar("T")


def levels(count: int) -> tuple[int, ...]:
    """Return for each of *count* places on an axis the round in which it is measured.

    The ends are round 0, the middle round 1, the quarters round 2, and so on.
    """
    found = [0] * count
    waiting = [(0, count - 1, 1)]
    while waiting:
        low, high, level = waiting.pop()
        if high - low < 2:
            continue
        middle = (low + high) // 2
        found[middle] = level
        waiting += [(low, middle, level + 1), (middle, high, level + 1)]
    return tuple(found)


def coarse_first(axis: Sequence[T]) -> Iterator[tuple[int, T]]:
    """Yield round and value, rounds in order."""
    ranked = sorted(zip(levels(len(axis)), range(len(axis)), strict=True))
    for level, index in ranked:
        yield level, axis[index]


def product(groups: Iterable[T], *axes: Sequence[int]) -> list[tuple[T, tuple[int, ...]]]:
    """Return every group with every combination of the axes, coarse combinations first.

    Within a round groups keep their order: the first matter most.
    """
    ranks = [dict(zip(axis, levels(len(axis)), strict=True)) for axis in axes]
    combinations: list[tuple[int, ...]] = [()]
    for axis in axes:
        combinations = [(*done, value) for done in combinations for value in axis]
    by_round = sorted(
        combinations,
        key=lambda values: sum(rank[value] for rank, value in zip(ranks, values, strict=True)),
    )
    rounds: dict[int, list[tuple[int, ...]]] = {}
    for values in by_round:
        level = sum(rank[value] for rank, value in zip(ranks, values, strict=True))
        rounds.setdefault(level, []).append(values)
    listed = list(groups)
    return [(group, values) for level in rounds for group in listed for values in rounds[level]]


def powers(first: int, last: int) -> tuple[int, ...]:
    """Return first, 2 first, 4 first, ... up to *last*."""
    found = []
    while first <= last:
        found.append(first)
        first *= 2
    return tuple(found)
