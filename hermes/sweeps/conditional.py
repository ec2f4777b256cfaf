"""What all dimensions of a search space share: when they apply, and how samplers see them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticCustomError

from hermes.scenario.base import Spec

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

__all__ = ["Conditional", "Parameter", "wrong_dimension"]

Parameter = int | float
"""A value as a sampler sees it: a place among finite values, or the number itself."""


class Conditional(Spec):
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

    def with_condition(self, written: dict[str, Any]) -> dict[str, Any]:
        """Return a dimension as plain data, with the condition where it has one."""
        return written | ({"when": self.when} if self.when else {})


def _same(one: object, other: object) -> bool:
    """Return whether two values are written alike; 1 and True are not."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def wrong_dimension(message: str) -> PydanticCustomError:
    """Return the error of a dimension that makes no sense."""
    # A template without a context is taken as it is, so braces in names do no harm.
    return PydanticCustomError("wrong_dimension", message)  # type: ignore[arg-type,unused-ignore]
