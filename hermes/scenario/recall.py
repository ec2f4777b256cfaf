"""Recall: stored context that requests have in front of their prompts, as a scenario states it.

Where the traffic says which prompts share what (block ids of a trace, sessions), hits need not be
stated: they come of capacities and evictions.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hermes.scenario.base import Positive, PositiveInt, Spec
from hermes.scenario.choice import word_or_key
from hermes.scenario.distributions import LengthSpec

__all__ = ["Hot", "HotHome", "RecallSpec"]

_Share = Annotated[float, Field(ge=0, le=1)]


class Hot(Spec):
    """Popularity in a few bumps: normal, around replicas drawn at random."""

    centres: PositiveInt = 8
    """How many bumps."""
    sigma: Positive = 0.75
    """Standard deviation of each, in replicas."""


class HotHome(Spec):
    """Some replicas' stores hold what most requests ask for."""

    hot: Hot
    """Where the popular contexts lie."""


class RecallSpec(Spec):
    """So many tokens of context, kept in a tier, stand in front of each prompt."""

    tokens: LengthSpec
    """Tokens of stored context, a number or a distribution."""
    hit_rate: _Share | Annotated[tuple[_Share, ...], Field(min_length=1, strict=False)] = 1.0
    """Chance that the nearest tier of the client holds it; or one chance for each tier, given that
    those before missed. What no tier holds is computed."""
    home: Annotated[
        Literal["uniform"] | HotHome,
        word_or_key("a home", "uniform", "hot", HotHome, "{hot: {centres: 8, sigma: 0.75}}"),
    ] = "uniform"
    """By which replica a context was stored, hence in which instance of a tier: all alike, or
    `{hot: {centres, sigma}}`. The request may only run where that instance can be reached."""
