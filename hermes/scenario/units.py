"""Simulated time as whole ticks of a picosecond, and the units that others share.

A duration is rounded to ticks once, where it is made; from there on sums are exact, in any order.
"""

from __future__ import annotations

__all__ = [
    "JOULES_PER_KWH",
    "TICKS_PER_MILLISECOND",
    "TICKS_PER_NANOSECOND",
    "TICKS_PER_SECOND",
    "ns_to_ticks",
    "seconds_to_ticks",
    "ticks_to_ms",
    "ticks_to_ns",
    "ticks_to_seconds",
]

TICKS_PER_SECOND = 10**12
TICKS_PER_MILLISECOND = 10**9
TICKS_PER_NANOSECOND = 10**3
JOULES_PER_KWH = 3.6e6


def seconds_to_ticks(seconds: float) -> int:
    """Round *seconds* to the nearest tick."""
    return round(seconds * TICKS_PER_SECOND)


def ticks_to_seconds(ticks: int) -> float:
    """Return *ticks* in seconds, correctly rounded."""
    return ticks / TICKS_PER_SECOND


def ticks_to_ms(ticks: int) -> float:
    """Return *ticks* in milliseconds, correctly rounded."""
    return ticks / TICKS_PER_MILLISECOND


def ns_to_ticks(nanoseconds: int) -> int:
    """Return whole *nanoseconds* in ticks, exactly."""
    return nanoseconds * TICKS_PER_NANOSECOND


def ticks_to_ns(ticks: int) -> int:
    """Round *ticks* to the nearest nanosecond, halves up."""
    return (ticks + TICKS_PER_NANOSECOND // 2) // TICKS_PER_NANOSECOND
