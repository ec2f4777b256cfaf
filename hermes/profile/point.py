"""A point: one call of one operator that can be measured, and the work it does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Measurement", "Point", "measure", "point"]


@dataclass(frozen=True, slots=True)
class Point:
    """One call of one operator, described by the columns of Hermes's table."""

    operator: str
    dtype: str
    columns: tuple[tuple[str, int], ...]
    flops: float = 0.0
    cold_bytes: float = 0.0
    """Bytes that no cache can hold for the next call: weights, keys and values, what is copied."""
    bus: str = "memory"
    """Which bandwidth bounds them: `memory`, `host`, or empty where none is known."""
    setup_flops: float = 0.0
    """Work before the first call, such as the building of an index."""

    @property
    def key(self) -> str:
        """What tells it apart from every other point, for people too."""
        shape = " ".join(f"{name}={value}" for name, value in self.columns)
        return f"{self.operator} {self.dtype} {shape}"

    def __getitem__(self, name: str) -> int:
        """Return one of the columns."""
        return dict(self.columns)[name]


def point(
    operator: str,
    dtype: str,
    flops: float = 0.0,
    cold_bytes: float = 0.0,
    bus: str = "memory",
    setup_flops: float = 0.0,
    **columns: int,
) -> Point:
    """Return a point with some columns."""
    return Point(operator, dtype, tuple(columns.items()), flops, cold_bytes, bus, setup_flops)


@dataclass(frozen=True, slots=True)
class Measurement:
    """How long a point took."""

    seconds: float
    """The median."""
    spread: float
    """Interquartile range over the median."""
    runs: int
    kernel: str = ""
    """What was called: the fastest of those available."""
    method: str = ""
    """How it was timed."""
    clock_mhz: float | None = None
    power_w: float | None = None


def measure(
    times: Sequence[float],
    kernel: str = "",
    method: str = "",
    clock_mhz: float | None = None,
    power_w: float | None = None,
) -> Measurement:
    """Return the median and the spread of repeated *times*, in seconds.

    Raises:
        ValueError: There is none.
    """
    if not times:
        raise ValueError("nothing was timed")
    ordered = sorted(times)
    low, middle, high = (_quantile(ordered, share) for share in (0.25, 0.5, 0.75))
    spread = (high - low) / middle if middle > 0 else math.inf
    return Measurement(middle, spread, len(ordered), kernel, method, clock_mhz, power_w)


def _quantile(ordered: Sequence[float], share: float) -> float:
    position = share * (len(ordered) - 1)
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)
