"""What a step costs when decodes verify drafts, and what drafting adds."""

from __future__ import annotations

from typing import NamedTuple

from hermes.costs.step import StepCost

__all__ = ["DraftModelCost", "FixedDraftCost", "StepLoad", "VerifyCost", "verify_pairs"]


class StepLoad(NamedTuple):
    """Aggregates of a step's batch; see `StepCost` for context tokens and pairs.

    Attributes:
        decodes: Sequences that decode.
        decode_tokens: Tokens computed of them: the latest one of each, and its drafts.
        decode_context: Their context tokens, summed.
        draft_pairs: Query-key pairs of the drafts alone, summed.
        prefill_tokens: Prompt tokens.
        prefill_context: Context tokens of the prefilling sequences, summed.
        prefill_pairs: Query-key pairs of the prefill, summed.
        prompts_done: Prompts whose last token is in the step.
    """

    decodes: int
    decode_tokens: int
    decode_context: int
    draft_pairs: int
    prefill_tokens: int = 0
    prefill_context: int = 0
    prefill_pairs: int = 0
    prompts_done: int = 0


def verify_pairs(tokens: int, context: int) -> int:
    """Return the query-key pairs that the drafts among a decode's `tokens` add to its first."""
    return (tokens - 1) * context + tokens * (tokens + 1) // 2 - 1


class FixedDraftCost:
    """Drafting takes the same time in every step that verifies drafts."""

    __slots__ = ("_ticks",)

    def __init__(self, ticks: int) -> None:
        self._ticks = ticks

    @property
    def label(self) -> str:
        """Where the numbers come from."""
        return ""

    def ticks(self, load: StepLoad) -> int:
        """Return the ticks that drafting adds to a step."""
        return self._ticks if load.decodes else 0


class DraftModelCost:
    """A small model drafts one token after another, over the contexts of the large one.

    Its first pass takes in what the large model takes in, prompts too; the passes for the drafts
    after the first run for the decoding sequences alone.
    """

    __slots__ = ("_costs", "_passes")

    def __init__(self, costs: StepCost, passes: int) -> None:
        self._costs = costs
        self._passes = passes

    @property
    def label(self) -> str:
        """Where the numbers come from."""
        return f"draft {self._costs.label}"

    def ticks(self, load: StepLoad) -> int:
        """Return the ticks that drafting adds to a step."""
        costs, decodes, context = self._costs, load.decodes, load.decode_context
        rows = decodes + load.prompts_done
        ticks = costs.step_ticks(
            decodes, context, load.prefill_tokens, load.prefill_context, load.prefill_pairs, rows
        )
        if decodes:
            for passed in range(1, self._passes):
                held = context + passed * decodes
                _, base, slope = costs.decode_segment(decodes, held)
                ticks += base + slope * held
        return ticks


class VerifyCost:
    """A step of the large model, and the drafting in it.

    The keys and values of a sequence are read once for its latest token and all its drafts, so
    verifying costs the attention of a plain decode, and for the drafts the linear layers, the LM
    head and the arithmetic of attention, as for a chunk of a prompt without a context of its own.
    Never less than the plain decode, and equal to it without drafts.
    """

    __slots__ = ("_costs", "_draft")

    def __init__(self, costs: StepCost, draft: FixedDraftCost | DraftModelCost) -> None:
        self._costs = costs
        self._draft = draft

    @property
    def label(self) -> str:
        """Where the draft's numbers come from."""
        return self._draft.label

    def ticks(self, load: StepLoad) -> int:
        """Return the ticks of a step."""
        verified = self._costs.step_ticks(
            load.decodes,
            load.decode_context,
            load.decode_tokens - load.decodes + load.prefill_tokens,
            load.prefill_context,
            load.draft_pairs + load.prefill_pairs,
            load.decode_tokens + load.prompts_done,
        )
        return verified + self._draft.ticks(load)
