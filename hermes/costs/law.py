"""How long an operator takes, from what it does: one formula for all kinds of operator.

An operator is described by four durations at datasheet peaks (`Amounts`). Six fitted constants turn
them into a measured one:

    t = ((F/ec + w*W)^p + (M/em)^p)^(1/p) + o + a*A

Efficiency rises with size by itself: a small operator is all overhead `o`, one that fills few tiles
is held by the tile `w*W`, and between compute and memory bound the maximum is smooth.

With a negative power it is a smooth minimum, of two ways to do the same: an all-reduce sends all to
all at once (`F`), or in turns that take time of their own (`M` and `A`):

    t = ((F/ec)^p + (M/em + a*A)^p)^(1/p) + o
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Amounts", "Law"]


class Amounts(NamedTuple):
    """Work of one operator, in seconds at datasheet peaks."""

    compute: float
    memory: float
    wave: float = 0.0
    """Arithmetic of the tiles that run whether full or not."""
    extra: float = 0.0
    """Traffic of the passes beside the operator: quantizing inputs, permuting tokens."""


@dataclass(frozen=True, slots=True)
class Law:
    """The constants of one kind of operator on one device, and how good they are."""

    device: str
    engine: str
    operator: str
    dtype: str
    compute_efficiency: float
    memory_efficiency: float
    sharpness: float
    """Power of the smooth maximum: 1 adds compute and memory time, infinity overlaps them. Below
    zero, that of a smooth minimum."""
    overhead_us: float
    wave: float
    extra: float
    skew: float = 0.0
    """Load of the busiest of many expert-parallel devices, above the mean."""
    small_error: float = 0.0
    """Median absolute relative error on operators left out of the fit, up to 64 tokens."""
    large_error: float = 0.0
    """The same above 64 tokens."""
    fitted_on: str = ""
    source: str = ""
    calibrated: bool = True
    """Whether these were fitted on the device and data type that they are used for."""

    def seconds(self, amounts: Amounts) -> float:
        """Return the time of one call."""
        compute, memory, wave, extra = amounts
        power = self.sharpness
        if power < 0:
            turns = memory / self.memory_efficiency + self.extra * extra
            at_once = compute / self.compute_efficiency
            least: float = (at_once**power + turns**power) ** (1 / power)
            return least + self.overhead_us * 1e-6
        bound: float = (
            (compute / self.compute_efficiency + self.wave * wave) ** power
            + (memory / self.memory_efficiency) ** power
        ) ** (1 / power)
        return bound + self.overhead_us * 1e-6 + self.extra * extra
