"""The search space: dimensions by dotted path, and the points in it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hermes.errors import InputError
from hermes.results import parameter_column
from hermes.sweeps.dimension import Choices, FloatRange, IntRange, Parameter
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

    dimensions: Mapping[str, Choices | IntRange | FloatRange]

    @property
    def size(self) -> int | None:
        """How many points there are; None where a dimension is continuous."""
        sizes = [dimension.size for dimension in self.dimensions.values()]
        known = [size for size in sizes if size is not None]
        return math.prod(known) if len(known) == len(sizes) else None

    def first(self) -> Point:
        """Return the first point: every dimension at its first value."""
        return {path: dimension.at(0) for path, dimension in self.dimensions.items()}

    def at(self, number: int) -> Point:
        """Return point *number* of the grid; the last dimension varies fastest.

        The order is that of `itertools.product`, without walking through it.
        """
        places: list[tuple[str, int]] = []
        for path, dimension in reversed(list(self.dimensions.items())):
            number, place = divmod(number, dimension.size or 1)
            places.append((path, place))
        return {path: self.dimensions[path].at(place) for path, place in reversed(places)}

    def drawn(self, seed: int, number: int) -> Point:
        """Return random point *number* under a seed: a function of the two, and of nothing else."""
        rng = stream(seed, "sampler", "random", str(number))
        uniforms = rng.random(len(self.dimensions)).tolist()
        pairs = zip(self.dimensions.items(), uniforms, strict=True)
        return {path: dimension.draw(uniform) for (path, dimension), uniform in pairs}

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
        return {
            path: dimension.from_parameter(parameters[path])
            for path, dimension in self.dimensions.items()
        }

    def to_parameters(self, cells: Mapping[str, object]) -> dict[str, Parameter]:
        """Return how a sampler of Optuna sees a point, its values as a study's rows hold them."""
        return {
            path: dimension.to_parameter(cells[path]) for path, dimension in self.dimensions.items()
        }

    def of_row(self, row: Mapping[str, object]) -> dict[str, object]:
        """Return the cells of a stored row that hold its point."""
        return {path: row[parameter_column(path)] for path in self.dimensions}

    def types(self) -> dict[str, type]:
        """Return the column type of each dimension."""
        return {path: dimension.kind for path, dimension in self.dimensions.items()}

    def written(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {path: dimension.written() for path, dimension in self.dimensions.items()}
