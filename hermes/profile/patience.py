"""How long something may take at most, said before it starts, learned from what ended.

A measurement costs a fixed time (inputs, warm-up, its repeated calls) and time in proportion to its
work. What its kind takes over that is learned: one is held to cost at most twice the worst ratio of
its kind so far, or, before there is one, `unknown` times what its work needs at best.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["MARGIN", "UNKNOWN", "Patience"]

MARGIN = 2.0
"""Over the worst that was seen."""
UNKNOWN = 20.0
"""Of a kind that was not measured yet."""
_CALLS = 20
"""Of a measurement: to warm up, to try kernels, to repeat."""


@dataclass(slots=True)
class Patience:
    """Bounds the time of measurements."""

    fixed: float
    """Seconds of one without work."""
    unknown: float = UNKNOWN
    worst: dict[str, float] = field(default_factory=dict)
    """By kind, the largest ratio of time to expected time."""

    def most(self, kind: str, work: float, setup: float = 0.0) -> float:
        """Return how long a measurement may take at most.

        Args:
            kind: Of what is measured.
            work: Seconds of one call, at best.
            setup: Seconds before the first, about.
        """
        known = self.worst.get(kind)
        if known is None:
            return self.unknown * self._repeated(work) + MARGIN * setup
        return MARGIN * known * (self._repeated(work) + setup)

    def learn(self, kind: str, taken: float, work: float, setup: float = 0.0) -> None:
        """Remember the seconds that were *taken*."""
        ratio = taken / (self._repeated(work) + setup)
        self.worst[kind] = max(self.worst.get(kind, 0.0), ratio)

    def _repeated(self, work: float) -> float:
        return self.fixed + _CALLS * work
