"""Distributions of service times and latencies, as a user writes them, in milliseconds.

A bare number is a constant; anything else is a mapping with one key, the distribution's name.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from hermes.scenario.base import Spec
from hermes.scenario.choice import by_key

__all__ = [
    "MAX_MILLISECONDS",
    "DurationSpec",
    "Exponential",
    "ExponentialDuration",
    "Lognormal",
    "LognormalDuration",
    "Uniform",
    "UniformDuration",
]


MAX_MILLISECONDS = 100_000_000
"""Longest time of one stage: more than a day."""

_Milliseconds = Annotated[float, Field(ge=0, le=MAX_MILLISECONDS)]
_Mean = Annotated[float, Field(gt=0, le=MAX_MILLISECONDS)]


class Exponential(Spec):
    """Memoryless times."""

    mean: _Mean
    """Milliseconds on average."""


class Lognormal(Spec):
    """Times with a heavy tail, as calls to remote services have."""

    mean: _Mean
    """Milliseconds on average."""
    cv: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Standard deviation as a share of the mean."""


class Uniform(Spec):
    """Every time between two bounds alike."""

    low: _Milliseconds
    """Milliseconds at least."""
    high: _Mean
    """Milliseconds at most."""

    @model_validator(mode="after")
    def _low_up_to_high(self) -> Self:
        if self.low > self.high:
            message = f"low ({self.low:g}) must not exceed high ({self.high:g})"
            raise PydanticCustomError("contradiction", message)  # type: ignore[arg-type,unused-ignore]
        return self


class ExponentialDuration(Spec):
    """`{exponential: {mean: ...}}`."""

    exponential: Exponential
    """The distribution."""


class LognormalDuration(Spec):
    """`{lognormal: {mean: ..., cv: ...}}`."""

    lognormal: Lognormal
    """The distribution."""


class UniformDuration(Spec):
    """`{uniform: {low: ..., high: ...}}`."""

    uniform: Uniform
    """The distribution."""


DurationSpec = Annotated[
    _Milliseconds | ExponentialDuration | LognormalDuration | UniformDuration,
    by_key(
        "a duration",
        {
            "exponential": ExponentialDuration,
            "lognormal": LognormalDuration,
            "uniform": UniformDuration,
        },
        number="a number of milliseconds",
    ),
]
"""Milliseconds: a number, or a distribution told by its key."""
