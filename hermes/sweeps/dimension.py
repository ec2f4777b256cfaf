"""Dimensions of a search space: choices, or a range of numbers.

A dimension with a finite number of values counts them from 0, and samplers see those places, not
the values. So choices of any kind, numbers, names, whole blocks, come back exactly as written.

A bundle sets several fields at once, under a name; any dimension may apply only `when` another one
has some value.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from hermes.errors import did_you_mean
from hermes.results import common_type
from hermes.scenario.base import Positive, PositiveInt, Spec

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

__all__ = ["Bundle", "Choices", "Dimension", "FloatRange", "IntRange", "Parameter"]

Parameter = int | float
"""A value as a sampler sees it: a place among finite values, or the number itself."""


class _Conditional(Spec):
    """What all dimensions share: when they apply."""

    when: dict[str, Any] = {}
    """Dimensions written before this one, each with the value or the list of values at which this
    one applies; elsewhere its field stays as the scenario has it."""

    def applies(self, point: Mapping[str, Any]) -> bool:
        """Return whether it applies at a point whose earlier dimensions are known."""
        return all(
            path in point and any(_same(point[path], value) for value in self.allowed(path))
            for path in self.when
        )

    def allowed(self, path: str) -> list[Any]:
        """Return the values of another dimension at which this one applies."""
        value = self.when[path]
        return value if isinstance(value, list) else [value]

    def settings(self, path: str, value: Any) -> dict[str, Any]:
        """Return what a value changes in the scenario, by dotted path."""
        return {path: value}

    def distribution(self) -> BaseDistribution:
        """Return the distribution samplers draw from."""
        raise NotImplementedError

    def holds(self, parameter: Parameter) -> bool:
        """Return whether a value, as a sampler sees it, is one of its values."""
        distribution: Any = self.distribution()
        if hasattr(distribution, "choices"):
            return parameter in distribution.choices
        return bool(distribution.low <= parameter <= distribution.high)

    def _with_condition(self, written: dict[str, Any]) -> dict[str, Any]:
        return written | ({"when": self.when} if self.when else {})


class Choices(_Conditional):
    """One of several values."""

    choices: Annotated[tuple[Any, ...], Field(min_length=1, strict=False)]
    """The values, in the order written."""

    @model_validator(mode="after")
    def _all_different(self) -> Self:
        cells = [self._cell(value) for value in self.choices]
        for place, cell in enumerate(cells):
            if cell in cells[:place]:
                raise _wrong(f"the choice {self.choices[place]!r} is given twice")
        return self

    @property
    def kind(self) -> type:
        """Type of the column that stores it."""
        return common_type(self.choices)

    @property
    def size(self) -> int:
        """How many values there are."""
        return len(self.choices)

    def at(self, place: int) -> Any:
        """Return the value at a place."""
        return self.choices[place]

    def draw(self, uniform: float) -> Any:
        """Return the value for a uniform draw from [0, 1)."""
        return self.choices[int(uniform * self.size)]

    def distribution(self) -> BaseDistribution:
        """Return the distribution of its places; numbers in rising order keep their order."""
        from optuna.distributions import CategoricalDistribution, IntDistribution

        numbers = self.kind in {int, float} and None not in self.choices
        pairs = zip(self.choices, self.choices[1:], strict=False)
        if numbers and all(low < high for low, high in pairs):
            return IntDistribution(0, self.size - 1)
        return CategoricalDistribution(tuple(range(self.size)))

    def from_parameter(self, parameter: Parameter) -> Any:
        """Return the value a sampler means."""
        return self.choices[int(parameter)]

    def to_parameter(self, cell: object) -> Parameter:
        """Return how a sampler sees a value read from a study's rows."""
        return [self._cell(value) for value in self.choices].index(self._cell(cell))

    def written(self) -> Any:
        """Return it as plain data."""
        plain = list(self.choices)
        return self._with_condition({"choices": plain}) if self.when else plain

    def _cell(self, value: object) -> object:
        """Return a value as a study's rows hold it."""
        if value is None or self.kind is not str or isinstance(value, str):
            return value
        return json.dumps(value, sort_keys=True)


class Bundle(_Conditional):
    """One of several named sets of values."""

    bundle: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    """Name to what it sets, by dotted path; every name sets the same paths."""

    @model_validator(mode="after")
    def _set_alike(self) -> Self:
        first, *others = self.bundle.items()
        if not first[1]:
            raise _wrong(f"{first[0]!r} sets nothing; give paths and values")
        for name, settings in others:
            if set(settings) != set(first[1]):
                odd = sorted(set(settings) ^ set(first[1]))
                raise _wrong(
                    f"{first[0]!r} and {name!r} do not set the same paths: {', '.join(odd)}"
                )
        return self

    @property
    def kind(self) -> type:
        """Type of the column that stores its name."""
        return str

    @property
    def size(self) -> int:
        """How many values there are."""
        return len(self.bundle)

    @property
    def choices(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self.bundle)

    def settings(self, path: str, value: Any) -> dict[str, Any]:
        """Return what a name changes in the scenario; see `_Conditional`."""
        del path
        return self.bundle[value]

    def at(self, place: int) -> str:
        """Return the name at a place."""
        return self.choices[place]

    def draw(self, uniform: float) -> str:
        """Return the name for a uniform draw from [0, 1)."""
        return self.choices[int(uniform * self.size)]

    def distribution(self) -> BaseDistribution:
        """Return the distribution of its places."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(tuple(range(self.size)))

    def from_parameter(self, parameter: Parameter) -> str:
        """Return the name a sampler means."""
        return self.choices[int(parameter)]

    def to_parameter(self, cell: object) -> Parameter:
        """Return how a sampler sees a name read from a study's rows."""
        return self.choices.index(str(cell))

    def written(self) -> Any:
        """Return it as plain data."""
        return self._with_condition({"bundle": self.bundle})


class IntRange(_Conditional):
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
        return self._with_condition({"int": list(self.bounds)} | options)


class FloatRange(_Conditional):
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
        return self._with_condition({"float": list(self.bounds)} | options)


def _pick(value: Any) -> Any:
    if isinstance(value, Spec):
        return value
    if isinstance(value, list):
        if not value:
            raise _wrong("the list of choices is empty")
        return Choices.model_validate({"choices": value})
    ranges: dict[str, type[Spec]] = {
        "int": IntRange, "float": FloatRange, "choices": Choices, "bundle": Bundle
    }  # fmt: skip
    given = [key for key in value if key in ranges] if isinstance(value, dict) else []
    if len(given) == 1:
        return ranges[given[0]].model_validate(value)
    hint = ""
    if isinstance(value, dict) and value and not given:
        hint = f", got the key {next(iter(value))!r}{did_you_mean(next(iter(value)), ranges)}"
    elif not isinstance(value, dict):
        hint = f", got {value!r}; a value that stays the same goes under `set`"
    raise _wrong(
        "a dimension is a list of choices, {int: [low, high]} or {float: [low, high]}, a range "
        "with `step` or `log` if wanted, {choices: [...], when: {...}}, or {bundle: {NAME: "
        f"{{path: value}}}}}}{hint}"
    )


_Written = Annotated[list[Any], Field(min_length=1)] | Choices | IntRange | FloatRange | Bundle

Dimension = Annotated[
    Choices | IntRange | FloatRange | Bundle,
    BeforeValidator(_pick, json_schema_input_type=_Written),
]
"""A dimension, told by its form: a list, or the key `choices`, `int`, `float` or `bundle`."""


def _same(one: object, other: object) -> bool:
    """Return whether two values are written alike; 1 and True are not."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _check_bounds(bounds: tuple[float, float], log: bool, stepped: bool) -> None:
    low, high = bounds
    if low > high:
        raise _wrong(f"the range is empty: low {low!r} is above high {high!r}")
    if log and low <= 0:
        raise _wrong(f"a range with log: true starts above 0, got low {low!r}")
    if log and stepped:
        raise _wrong("a range has `step` or `log`, not both")


def _options(step: float | None, log: bool) -> dict[str, Any]:
    return ({"step": step} if step else {}) | ({"log": True} if log else {})


def _decimal(value: float) -> Decimal:
    return Decimal(repr(value))


def _wrong(message: str) -> PydanticCustomError:
    # A template without a context is taken as it is, so braces in names do no harm.
    return PydanticCustomError("wrong_dimension", message)  # type: ignore[arg-type,unused-ignore]
