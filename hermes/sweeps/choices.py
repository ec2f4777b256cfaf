"""Dimensions of named or listed values: choices, and bundles that set several fields at once.

Samplers see the places of the values, not the values. So choices of any kind, numbers, names, whole
blocks, come back exactly as written.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, model_validator

from hermes.results import common_type
from hermes.sweeps.conditional import Conditional, Parameter, wrong_dimension

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

__all__ = ["Bundle", "Choices"]


class Choices(Conditional):
    """One of several values."""

    choices: Annotated[tuple[Any, ...], Field(min_length=1, strict=False)]
    """The values, in the order written."""

    @model_validator(mode="after")
    def _all_different(self) -> Self:
        cells = [self._cell(value) for value in self.choices]
        for place, cell in enumerate(cells):
            if cell in cells[:place]:
                raise wrong_dimension(f"the choice {self.choices[place]!r} is given twice")
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
        return self.with_condition({"choices": plain}) if self.when else plain

    def _cell(self, value: object) -> object:
        """Return a value as a study's rows hold it."""
        if value is None or self.kind is not str or isinstance(value, str):
            return value
        return json.dumps(value, sort_keys=True)


class Bundle(Conditional):
    """One of several named sets of values."""

    bundle: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    """Name to what it sets, by dotted path; every name sets the same paths."""

    @model_validator(mode="after")
    def _set_alike(self) -> Self:
        first, *others = self.bundle.items()
        if not first[1]:
            raise wrong_dimension(f"{first[0]!r} sets nothing; give paths and values")
        for name, settings in others:
            if set(settings) != set(first[1]):
                odd = sorted(set(settings) ^ set(first[1]))
                raise wrong_dimension(
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
        """Return what a name changes in the scenario; see `Conditional`."""
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
        return self.with_condition({"bundle": self.bundle})
