"""What a step costs: the one interface between the cost models and the simulator."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from hermes.costs.provenance import Part, StepShape

__all__ = ["DecodeSegment", "Spread", "StepCost"]


class Spread(NamedTuple):
    """Standard deviation of the relative error of decode steps and of steps with prompts."""

    decode: float
    prefill: float


class DecodeSegment(NamedTuple):
    """Decode time at a fixed batch, linear in its context up to `limit`.

    A step over `c` context tokens, `c < limit`, takes `base + slope * c` ticks. All three are
    integers, so any number of steps sums in closed form without rounding.
    """

    limit: int
    base: int
    slope: int


class StepCost(Protocol):
    """Time of one forward pass of one replica, from aggregates of its batch.

    Context tokens are those a sequence had computed before the step (vLLM's
    `num_computed_tokens`).
    """

    @property
    def label(self) -> str:
        """Where the numbers come from, for reports."""

    @property
    def request_ticks(self) -> int:
        """Ticks that the front end adds to every request: tokenizing, passing on, streaming."""

    @property
    def spread(self) -> Spread:
        """How far off it is expected to be."""

    def decode_segment(self, sequences: int, context_tokens: int) -> DecodeSegment:
        """Return the segment that holds a decode step of `sequences` over `context_tokens`."""

    def step_ticks(
        self,
        decode_sequences: int,
        decode_context: int,
        prefill_tokens: int,
        prefill_context: int,
        prefill_pairs: int,
        logit_rows: int,
    ) -> int:
        """Return the ticks of a step that holds prefill.

        Args:
            decode_sequences: Sequences that decode one token each.
            decode_context: Their context tokens, summed.
            prefill_tokens: Prompt tokens computed in this step.
            prefill_context: Context tokens of the prefilling sequences, summed.
            prefill_pairs: Query-key pairs of the prefill: `c*d + c*(c+1)/2` for a chunk of `c`
                after `d` tokens, summed.
            logit_rows: Sequences that sample a token.
        """

    def parts(self, shape: StepShape) -> tuple[Part, ...]:
        """Return the operators of a step, with where the time of each comes from."""

    def padding_ticks(self, tokens: int, padded: int) -> int:
        """Return the ticks that a step of `tokens` tokens takes more when `padded` to so many."""
