"""The time there is for a profile, and what is left of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["TimeLimit"]


@dataclass(slots=True)
class TimeLimit:
    """Some seconds from now on."""

    seconds: float
    clock: Callable[[], float] = time.monotonic
    begun: float = field(init=False)

    def __post_init__(self) -> None:
        self.begun = self.clock()

    @property
    def spent(self) -> float:
        """Seconds since it began."""
        return self.clock() - self.begun

    @property
    def left(self) -> float:
        """Seconds until it ends, at least none."""
        return max(0.0, self.seconds - self.spent)

    def until(self, share: float) -> float:
        """Return the seconds until a *share* of all of it is spent, at least none."""
        return max(0.0, share * self.seconds - self.spent)
