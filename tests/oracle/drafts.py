"""Speculative decoding the naive way: every sequence of every step by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from hermes.costs.step import StepCost


@dataclass
class Drafts:
    """What a step gives beside the token that is due, and what it costs.

    Either `accepted` says so of a request and its drafts, or a step gives all of them the same
    tokens, so that their sum over all steps with decodes is `mean` times those, rounded down.
    """

    mean: Fraction = Fraction(1)
    accepted: Callable[[Any, int], int] | None = None
    draft_ticks: int = 0
    draft_costs: StepCost | None = None
    passes: int = 0
    steps: int = 0

    def begin_step(self) -> None:
        self.steps += 1

    def gained(self, request: Any, drafts: int) -> int:
        if self.accepted is not None:
            return 1 + (self.accepted(request, drafts) if drafts else 0)
        return int(self.steps * self.mean) - int((self.steps - 1) * self.mean)

    def step_ticks(
        self,
        costs: StepCost,
        decodes: list[tuple[int, int]],
        prefills: list[tuple[int, int]],
        done: int,
    ) -> int:
        """From (context, tokens) of each sequence, and how many prompts are done."""
        tokens = sum(n for _, n in decodes + prefills)
        context = sum(c for c, _ in decodes)
        prompt_context = sum(c for c, _ in prefills)
        pairs = sum(c + i for c, n in prefills for i in range(1, n + 1))
        of_drafts = sum(c + i for c, n in decodes for i in range(2, n + 1))
        ticks = costs.step_ticks(
            len(decodes),
            context,
            tokens - len(decodes),
            prompt_context,
            pairs + of_drafts,
            sum(n for _, n in decodes) + done,
        )
        if self.draft_costs is not None:
            prompt_tokens = sum(n for _, n in prefills)
            rows = len(decodes) + done
            ticks += self.draft_costs.step_ticks(
                len(decodes), context, prompt_tokens, prompt_context, pairs, rows
            )
            for i in range(1, self.passes if decodes else 0):
                ticks += self.draft_costs.step_ticks(
                    len(decodes), sum(c + i for c, _ in decodes), 0, 0, 0, len(decodes)
                )
        return ticks + (self.draft_ticks if decodes else 0)
