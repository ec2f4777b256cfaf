"""Dimensions of numbers from low to high, whole or not, stepped, even or by magnitude."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, model_validator

from hermes.scenario.base import Positive, PositiveInt
from hermes.sweeps.conditional import Conditional, Parameter, wrong_dimension

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

__all__ = ["FloatRange", "IntRange"]


class IntRange(Conditional):
    """A whole number from low to high."""

    bounds: Annotated[tuple[int, int], Field(alias="int", strict=False)]
    """`[low, high]`, both included."""
    step: PositiveInt = 1
    """Distance between two values, counted from low."""
    log: bool = False
    """Whether samplers look evenly over orders of magnitude."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        _check_bounds(self.bounds, self.log, self.step != 1)
        return self

    @property
    def kind(self) -> type:
        """Type of the column that stores it."""
        return int

    @property
    def size(self) -> int:
        """How many values there are."""
        low, high = self.bounds
        return (high - low) // self.step + 1

    def at(self, place: int) -> int:
        """Return the value at a place."""
        return self.bounds[0] + place * self.step

    def draw(self, uniform: float) -> int:
        """Return the value for a uniform draw from [0, 1)."""
        if not self.log:
            return self.at(int(uniform * self.size))
        low, high = self.bounds
        return min(high, int(low * math.exp(uniform * math.log((high + 1) / low))))

    def distribution(self) -> BaseDistribution:
        """Return the distribution samplers draw from."""
        from optuna.distributions import IntDistribution

        if self.log:
            return IntDistribution(*self.bounds, log=True)
        return IntDistribution(0, self.size - 1)

    def from_parameter(self, parameter: Parameter) -> int:
        """Return the value a sampler means."""
        return int(parameter) if self.log else self.at(int(parameter))

    def to_parameter(self, cell: object) -> Parameter:
        """Return how a sampler sees a value read from a study's rows."""
        value = int(str(cell))
        return value if self.log else (value - self.bounds[0]) // self.step

    def written(self) -> Any:
        """Return it as plain data."""
        options = _options(self.step if self.step != 1 else 0, self.log)
        return self.with_condition({"int": list(self.bounds)} | options)


class FloatRange(Conditional):
    """A number from low to high."""

    bounds: Annotated[tuple[float, float], Field(alias="float", strict=False)]
    """`[low, high]`, both included."""
    step: Positive | None = None
    """Distance between two values, counted from low; default: any number between."""
    log: bool = False
    """Whether samplers look evenly over orders of magnitude."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        _check_bounds(self.bounds, self.log, self.step is not None)
        return self

    @property
    def kind(self) -> type:
        """Type of the column that stores it."""
        return float

    @property
    def size(self) -> int | None:
        """How many values there are; None without a step."""
        low, high = self.bounds
        if low == high:
            return 1
        if self.step is None:
            return None
        return int((_decimal(high) - _decimal(low)) / _decimal(self.step)) + 1

    def at(self, place: int) -> float:
        """Return the value at a place; decimal, so that 0.1 three times is 0.3."""
        if self.step is None:
            return self.bounds[0]
        return float(_decimal(self.bounds[0]) + place * _decimal(self.step))

    def draw(self, uniform: float) -> float:
        """Return the value for a uniform draw from [0, 1)."""
        if self.size is not None:
            return self.at(int(uniform * self.size))
        low, high = self.bounds
        value = low * math.exp(uniform * math.log(high / low)) if self.log else None
        return min(high, max(low, low + uniform * (high - low) if value is None else value))

    def distribution(self) -> BaseDistribution:
        """Return the distribution samplers draw from."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.size is not None:
            return IntDistribution(0, self.size - 1)
        return FloatDistribution(*self.bounds, log=self.log)

    def from_parameter(self, parameter: Parameter) -> float:
        """Return the value a sampler means."""
        return float(parameter) if self.size is None else self.at(int(parameter))

    def to_parameter(self, cell: object) -> Parameter:
        """Return how a sampler sees a value read from a study's rows."""
        value = float(str(cell))
        if self.size is None:
            return value
        step = _decimal(self.step or 1.0)
        return round((_decimal(value) - _decimal(self.bounds[0])) / step)

    def written(self) -> Any:
        """Return it as plain data."""
        options = _options(self.step, self.log)
        return self.with_condition({"float": list(self.bounds)} | options)


def _check_bounds(bounds: tuple[float, float], log: bool, stepped: bool) -> None:
    low, high = bounds
    if low > high:
        raise wrong_dimension(f"the range is empty: low {low!r} is above high {high!r}")
    if log and low <= 0:
        raise wrong_dimension(f"a range with log: true starts above 0, got low {low!r}")
    if log and stepped:
        raise wrong_dimension("a range has `step` or `log`, not both")


def _options(step: float | None, log: bool) -> dict[str, Any]:
    return ({"step": step} if step else {}) | ({"log": True} if log else {})


def _decimal(value: float) -> Decimal:
    return Decimal(repr(value))
