"""How many drafted tokens are accepted."""

from __future__ import annotations

from fractions import Fraction
from itertools import accumulate, repeat
from operator import mul
from typing import Protocol

import numpy as np

from hermes.sim.sequence import Sequence

__all__ = ["Acceptance", "DrawnAcceptance", "mean_gain"]

_DRAWS = 4096


class Acceptance(Protocol):
    """Says of each verification how many of its drafts hold."""

    def accepted(self, sequence: Sequence, drafts: int) -> int:
        """Return how many of a sequence's `drafts` drafts, one or more, are accepted."""


class DrawnAcceptance:
    """Every draft is accepted with the same chance, once all before it were.

    Args:
        rng: Its stream; one number is drawn a verification.
        rate: The chance.
        drafts: Most drafts of a verification.
    """

    __slots__ = ("_chances", "_draws", "_rng")

    def __init__(self, rng: np.random.Generator, rate: float, drafts: int) -> None:
        self._rng = rng
        self._chances = tuple(accumulate(repeat(rate, drafts), mul))  # that so many are
        self._draws: list[float] = []

    def accepted(self, sequence: Sequence, drafts: int) -> int:
        """Return how many drafts are accepted; see `Acceptance`."""
        del sequence
        if not self._draws:
            self._draws = self._rng.random(_DRAWS).tolist()[::-1]
        draw = self._draws.pop()
        accepted = 0
        while accepted < drafts and draw < self._chances[accepted]:
            accepted += 1
        return accepted


def mean_gain(rate: float, drafts: int) -> Fraction:
    """Return the mean tokens that a verification gives, of the rate as it is written.

    The token after the last accepted draft is the model's own: 1 + a + a^2 + ... + a^k.
    """
    exact = Fraction(repr(rate))
    return sum((exact**accepted for accepted in range(drafts + 1)), Fraction(0))
