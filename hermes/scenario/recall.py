"""Recall: stored context that requests have in front of their prompts, as a scenario states it.

Where the traffic says which prompts share what (block ids of a trace, sessions), hits need not be
stated: they come of capacities and evictions.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from hermes.errors import did_you_mean
from hermes.scenario.base import Positive, PositiveInt, Spec
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


def _as_home(value: Any) -> Any:
    if value == "uniform" or isinstance(value, HotHome):
        return value
    if isinstance(value, dict) and list(value) == ["hot"]:
        return HotHome.model_validate(value)
    given = next(iter(value), "") if isinstance(value, dict) else value
    hint = did_you_mean(str(given), ["uniform", "hot"])
    message = "a home is 'uniform' or {{hot: {{centres: 8, sigma: 0.75}}}}, got {given}{hint}"
    raise PydanticCustomError("wrong_home", message, {"given": repr(value), "hint": hint})


class RecallSpec(Spec):
    """So many tokens of context, kept in a tier, stand in front of each prompt."""

    tokens: LengthSpec
    """Tokens of stored context, a number or a distribution."""
    hit_rate: _Share | Annotated[tuple[_Share, ...], Field(min_length=1, strict=False)] = 1.0
    """Chance that the nearest tier of the client holds it; or one chance for each tier, given that
    those before missed. What no tier holds is computed."""
    home: Annotated[Literal["uniform"] | HotHome, BeforeValidator(_as_home)] = "uniform"
    """By which replica a context was stored, hence in which instance of a tier: all alike, or
    `{hot: {centres, sigma}}`. The request may only run where that instance can be reached."""
