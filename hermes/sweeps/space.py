"""The search space: dimensions by dotted path, and the points in it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hermes.errors import InputError
from hermes.results import parameter_column
from hermes.sweeps.choices import Bundle, Choices
from hermes.sweeps.conditional import Parameter
from hermes.sweeps.ranges import FloatRange, IntRange
from hermes.workload.streams import stream

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

__all__ = ["LARGEST_GRID", "Point", "Space"]

Point = dict[str, Any]
"""A value for every dimension, by dotted path."""

LARGEST_GRID = 100_000


@dataclass(frozen=True, slots=True)
class Space:
    """Dimensions by dotted path, in the order written."""

    dimensions: Mapping[str, Choices | IntRange | FloatRange | Bundle]

    @property
    def conditional(self) -> bool:
        """Whether a dimension applies at some points only."""
        return any(dimension.when for dimension in self.dimensions.values())

    @property
    def size(self) -> int | None:
        """How many points there are; None where a dimension is continuous."""
        sizes = [dimension.size for dimension in self.dimensions.values()]
        known = [size for size in sizes if size is not None]
        if len(known) < len(sizes):
            return None
        return self._count() if self.conditional else math.prod(known)

    @property
    def grid_length(self) -> int:
        """How many numbers `at` takes; more than `size` where dimensions apply sometimes only."""
        return math.prod(dimension.size or 1 for dimension in self.dimensions.values())

    def first(self) -> Point:
        """Return the first point: every dimension that applies at its first value."""
        return self.nearest({})

    def nearest(self, wanted: Mapping[str, Any]) -> Point:
        """Return the point of first values that has the values wanted, where they apply."""
        point: Point = {}
        for path, dimension in self.dimensions.items():
            if dimension.applies(point):
                point[path] = wanted[path] if path in wanted else dimension.at(0)
        return point

    def reaching(self, path: str, value: Any) -> Point:
        """Return a point that has a value, with the conditions met at which it applies."""
        wanted = {path: value}
        for name in reversed(list(self.dimensions)):
            if name in wanted:
                dimension = self.dimensions[name]
                conditions = {other: dimension.allowed(other)[0] for other in dimension.when}
                wanted = conditions | wanted
        return self.nearest(wanted)

    def at(self, number: int) -> Point | None:
        """Return point *number* of the grid; the last dimension varies fastest.

        The order is that of `itertools.product`, without walking through it. A dimension that does
        not apply counts once: None where the number stands for such a point again.
        """
        places: dict[str, int] = {}
        for path, dimension in reversed(list(self.dimensions.items())):
            number, places[path] = divmod(number, dimension.size or 1)
        point: Point = {}
        for path, dimension in self.dimensions.items():
            if dimension.applies(point):
                point[path] = dimension.at(places[path])
            elif places[path]:
                return None
        return point

    def drawn(self, seed: int, number: int) -> Point:
        """Return random point *number* under a seed: a function of the two, and of nothing else."""
        rng = stream(seed, "sampler", "random", str(number))
        return self.of_uniforms(rng.random(len(self.dimensions)).tolist())

    def of_uniforms(self, uniforms: Sequence[float]) -> Point:
        """Return the point for one number from [0, 1) a dimension."""
        point: Point = {}
        for (path, dimension), uniform in zip(self.dimensions.items(), uniforms, strict=True):
            if dimension.applies(point):
                point[path] = dimension.draw(uniform)
        return point

    def overrides(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a point changes in the scenario, by dotted path."""
        changes: dict[str, Any] = {}
        for path, value in point.items():
            changes |= self.dimensions[path].settings(path, value)
        return changes

    def check_grid(self, trials: int | None) -> None:
        """Check that the grid can be walked.

        Raises:
            InputError: A dimension is continuous, or there are absurdly many points.
        """
        for path, dimension in self.dimensions.items():
            if dimension.size is None:
                raise InputError(
                    "a grid needs a finite number of values: give choices or a `step`, or use "
                    "another sampler",
                    f"space.{path}",
                )
        size = self.size or 0
        if size > LARGEST_GRID and trials is None:
            sizes = " x ".join(f"{dimension.size:,}" for dimension in self.dimensions.values())
            raise InputError(
                f"the grid has {size:,} points ({sizes}), more than {LARGEST_GRID:,}: use fewer "
                "values, another sampler (nsga2, random), or set `trials` to walk only so many",
                "space",
            )

    def distributions(self) -> dict[str, BaseDistribution]:
        """Return what a sampler of Optuna draws from."""
        return {path: dimension.distribution() for path, dimension in self.dimensions.items()}

    def from_parameters(self, parameters: Mapping[str, Parameter]) -> Point:
        """Return the point a sampler of Optuna means."""
        point: Point = {}
        for path, dimension in self.dimensions.items():
            if dimension.applies(point):
                point[path] = dimension.from_parameter(parameters[path])
        return point

    def to_parameters(self, cells: Mapping[str, object]) -> dict[str, Parameter]:
        """Return how a sampler of Optuna sees a point, its values as a study's rows hold them."""
        parameters: dict[str, Parameter] = {}
        point: Point = {}
        for path, dimension in self.dimensions.items():
            if dimension.applies(point):
                parameters[path] = dimension.to_parameter(cells[path])
                point[path] = dimension.from_parameter(parameters[path])
        return parameters

    def of_row(self, row: Mapping[str, object]) -> dict[str, object]:
        """Return the cells of a stored row that hold its point."""
        return {path: row[parameter_column(path)] for path in self.dimensions}

    def types(self) -> dict[str, type]:
        """Return the column type of each dimension."""
        return {path: dimension.kind for path, dimension in self.dimensions.items()}

    def written(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {path: dimension.written() for path, dimension in self.dimensions.items()}

    def _count(self) -> int:
        """Count the points of a finite space by the values of those that conditions ask about."""
        asked = {name for dimension in self.dimensions.values() for name in dimension.when}
        names = [name for name in self.dimensions if name in asked]
        inner = Space({name: self.dimensions[name] for name in names})
        total = 0
        for number in range(min(inner.grid_length, LARGEST_GRID)):
            known = inner.at(number)
            if known is not None:
                total += math.prod(
                    dimension.size or 1
                    for name, dimension in self.dimensions.items()
                    if name not in asked and dimension.applies(known)
                )
        return total
