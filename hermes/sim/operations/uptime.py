"""When a replica was there, and when it served."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Uptime", "Use"]


class Use(NamedTuple):
    """Ticks of a window.

    Attributes:
        paid: That its devices were there.
        wanted: That it was to serve.
        serving: That it did.
    """

    paid: int
    wanted: int
    serving: int


class Uptime:
    """What a replica was from which tick on.

    Args:
        now: When this begins.
        paid: Whether its devices are there.
        serving: Whether it serves, and is to.
    """

    __slots__ = ("_spells",)

    def __init__(self, now: int, paid: bool, serving: bool) -> None:
        self._spells: list[tuple[int, Use]] = [(now, Use(paid, serving, serving))]

    def change(self, now: int, paid: bool, serving: bool, wanted: bool) -> None:
        """Note what it is from now on."""
        self._spells.append((now, Use(paid, wanted, serving)))

    def within(self, begin: int, end: int) -> Use:
        """Return the ticks of a window."""
        total = [0, 0, 0]
        ends = [tick for tick, _ in self._spells[1:]] + [end]
        for (tick, use), until in zip(self._spells, ends, strict=True):
            ticks = max(0, min(until, end) - max(tick, begin))
            for number, holds in enumerate(use):
                total[number] += ticks * holds
        return Use(*total)
