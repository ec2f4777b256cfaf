"""Where the time of a step comes from: which operator, and how well its cost is known."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ORIGINS", "Part", "StepShape"]

ORIGINS = ("measured", "interpolated", "extrapolated", "roofline", "uncalibrated", "given")
"""How a time came about, the best known first: a measurement of just that call; between two; from
the nearest one; from a law that was fitted on this device; from one that was fitted on another, or
on none; from the scenario."""


class StepShape(NamedTuple):
    """The batch of a step, by its aggregates; context tokens are those before it."""

    decodes: int
    decode_context: int
    prefill_tokens: int = 0
    prefill_context: int = 0
    prefill_pairs: int = 0

    @property
    def regime(self) -> str:
        """Whether prompts are in it."""
        return "prefill" if self.prefill_tokens else "decode"


class Part(NamedTuple):
    """An operator's share of a step."""

    operator: str
    origin: str
    """One of `ORIGINS`."""
    seconds: float
