"""A forward pass as the sum of four parts, each of few aggregates of its batch."""

from __future__ import annotations

from typing import Protocol

from hermes.costs.provenance import Part, StepShape
from hermes.costs.step import Spread

__all__ = ["ALIGNED_ABOVE", "ALIGNMENT", "PassCost"]

ALIGNMENT = 16
"""Kernels in 8 bits slow down where the tokens of a step are no multiple of this."""
ALIGNED_ABOVE = 256
"""Up to so many tokens they do not."""


class PassCost(Protocol):
    """Seconds of the parts of one batched forward pass of a replica.

    Every part is zero for nothing and never less for more.
    """

    @property
    def label(self) -> str:
        """Where the numbers come from, for reports."""

    @property
    def spread(self) -> Spread:
        """How far off it is expected to be."""

    def token_seconds(self, tokens: int) -> float:
        """Return what depends on the scheduled tokens alone, and the fixed time of a step."""

    def row_seconds(self, rows: int) -> float:
        """Return the LM head, which runs for the sequences that sample."""

    def decode_seconds(self, sequences: int, keys: int) -> float:
        """Return the attention of one query of each sequence over *keys* keys in all."""

    def prefill_seconds(self, tokens: int, keys: int, pairs: int) -> float:
        """Return the attention of prompt chunks.

        Args:
            tokens: Prompt tokens of the step.
            keys: Tokens that the prefilling sequences hold after it, summed.
            pairs: Query-key pairs, causal.
        """

    def parts(self, shape: StepShape) -> tuple[Part, ...]:
        """Return the operators of a pass, with where the time of each comes from."""
