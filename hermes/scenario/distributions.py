"""Distributions of token counts, as a user writes them.

A bare whole number is a constant; anything else is a mapping with one key, the distribution's
name. Every distribution yields whole numbers; `min` and `max` clip what it draws.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from hermes.scenario.base import NonNegative, Spec
from hermes.scenario.choice import by_key

__all__ = [
    "MAX_TOKENS",
    "Clipped",
    "Constant",
    "ConstantLength",
    "Empirical",
    "EmpiricalLength",
    "Exponential",
    "ExponentialLength",
    "Geometric",
    "GeometricLength",
    "LengthSpec",
    "Lognormal",
    "LognormalLength",
    "Normal",
    "NormalLength",
    "TokenCount",
    "Uniform",
    "UniformLength",
]

MAX_TOKENS = 100_000_000
"""Longest prompt or output accepted anywhere: ten times the longest context on the market."""

TokenCount = Annotated[int, Field(ge=1, le=MAX_TOKENS)]
_Mean = Annotated[float, Field(ge=1, le=MAX_TOKENS)]


class Clipped(Spec):
    """What every distribution has: limits that its draws are clipped to."""

    min: TokenCount = 1
    """Smallest value; smaller draws become this."""
    max: TokenCount = MAX_TOKENS
    """Largest value; larger draws become this."""

    @model_validator(mode="after")
    def _min_up_to_max(self) -> Self:
        if self.min > self.max:
            raise _contradiction(f"min ({self.min}) must not exceed max ({self.max})")
        return self


class Constant(Clipped):
    """The same number for every request."""

    value: TokenCount
    """The number of tokens."""


class Lognormal(Clipped):
    """Lognormal, rounded to whole tokens."""

    mean: _Mean
    """Mean of the distribution itself, not of its logarithm."""
    cv: Annotated[float, Field(ge=0, le=100)]
    """Coefficient of variation: standard deviation / mean."""


class Uniform(Clipped):
    """Every whole number from `low` to `high`, both included, equally likely."""

    low: TokenCount
    """Smallest value."""
    high: TokenCount
    """Largest value."""

    @model_validator(mode="after")
    def _low_up_to_high(self) -> Self:
        if self.low > self.high:
            raise _contradiction(f"low ({self.low}) must not exceed high ({self.high})")
        return self


class Normal(Clipped):
    """Normal, rounded to whole tokens; draws below 1 become 1, which raises a wide one's mean."""

    mean: _Mean
    """Mean before clipping."""
    std: Annotated[float, Field(ge=0, le=MAX_TOKENS)]
    """Standard deviation before clipping."""


class Exponential(Clipped):
    """Exponential, rounded to whole tokens; draws below 1 become 1."""

    mean: _Mean
    """Mean before rounding and clipping."""


class Geometric(Clipped):
    """Geometric on 1, 2, 3, ...: a request goes on after every token with the same chance."""

    mean: _Mean
    """Mean; the chance to stop after a token is 1 / mean."""


class Empirical(Clipped):
    """Draws with replacement from given values."""

    values: Annotated[tuple[TokenCount, ...], Field(min_length=1, strict=False)]
    """The values."""
    weights: Annotated[tuple[NonNegative, ...], Field(strict=False)] | None = None
    """Relative frequency of each value; default: all equal."""

    @model_validator(mode="after")
    def _weights_fit(self) -> Self:
        if self.weights is None:
            return self
        if len(self.weights) != len(self.values):
            given = f"{len(self.weights)} weights for {len(self.values)} values"
            raise _contradiction(f"there must be one weight for each value, got {given}")
        if not any(self.weights):
            raise _contradiction("at least one of the weights must be positive")
        return self


class ConstantLength(Spec):
    """The same number for every request, in full form."""

    constant: Constant
    """Parameters."""


class LognormalLength(Spec):
    """Lognormal lengths: what prompts and outputs of chat look like."""

    lognormal: Lognormal
    """Parameters."""


class UniformLength(Spec):
    """Uniform lengths."""

    uniform: Uniform
    """Parameters."""


class NormalLength(Spec):
    """Normal lengths."""

    normal: Normal
    """Parameters."""


class ExponentialLength(Spec):
    """Exponential lengths."""

    exponential: Exponential
    """Parameters."""


class GeometricLength(Spec):
    """Geometric lengths."""

    geometric: Geometric
    """Parameters."""


class EmpiricalLength(Spec):
    """Lengths drawn from given values."""

    empirical: Empirical
    """Parameters."""


LengthSpec = Annotated[
    TokenCount
    | ConstantLength
    | LognormalLength
    | UniformLength
    | NormalLength
    | ExponentialLength
    | GeometricLength
    | EmpiricalLength,
    by_key(
        "a length",
        {
            "constant": ConstantLength,
            "lognormal": LognormalLength,
            "uniform": UniformLength,
            "normal": NormalLength,
            "exponential": ExponentialLength,
            "geometric": GeometricLength,
            "empirical": EmpiricalLength,
        },
        whole=range(1, MAX_TOKENS + 1),
    ),
]
"""A whole number, or a mapping with the name of a distribution as its one key."""


def _contradiction(message: str) -> PydanticCustomError:
    return PydanticCustomError("contradiction", message)  # type: ignore[arg-type,unused-ignore]
