"""Speculative decoding: a draft proposes tokens, the model verifies several of them in one step."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hermes.scenario.base import NonNegative, PositiveInt, Spec
from hermes.scenario.choice import by_key

__all__ = ["DraftModelSpec", "DraftSpec", "DraftTimeSpec", "SpeculativeSpec"]


class DraftModelSpec(Spec):
    """A small model drafts, on the devices of the replica."""

    model: str
    """Hugging Face id, its last part in any case, or the path of a `config.json`."""


class DraftTimeSpec(Spec):
    """Drafting takes a fixed time."""

    step_us: NonNegative
    """Time that drafting all tokens adds to every step that verifies drafts, in microseconds."""
    caches: bool = False
    """Whether drafting writes to the KV cache, as EAGLE and MTP heads do and looking up n-grams
    does not: each sequence then holds slots for `num_speculative_tokens` more."""


DraftSpec = Annotated[
    DraftModelSpec | DraftTimeSpec,
    by_key("a draft", {"model": DraftModelSpec, "step_us": DraftTimeSpec}),
]


class SpeculativeSpec(Spec):
    """How many tokens are drafted, how many of them hold, and what drafting costs."""

    num_speculative_tokens: PositiveInt
    """Drafted tokens of each sequence that every decode step verifies."""
    acceptance_rate: Annotated[float, Field(ge=0, le=1)]
    """Chance that a drafted token is accepted, given that those before it were."""
    mode: Literal["expected", "sampled"] = "expected"
    """`expected`: in a step every sequence gains the same tokens, whose mean is the expected one;
    `sampled`: each draws its own. The first is fast, the second shows the spread."""
    draft: DraftSpec = DraftTimeSpec(step_us=0.0)
    """Where drafts come from: `{model: NAME}`, or `{step_us: TIME}` for n-grams or draft heads."""
