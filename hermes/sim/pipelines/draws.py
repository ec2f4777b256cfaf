"""Random draws of a pipeline's stages: one column a stage and a place in the pipeline's tree.

A request's draw depends on the scenario's seed, the stage's name, the request and the loops and
branches it is in, and on nothing that happens in time. So the same request meets the same draws in
two deployments (common random numbers).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hermes.scenario.distributions import LengthSpec
from hermes.scenario.durations import DurationSpec
from hermes.scenario.units import TICKS_PER_MILLISECOND
from hermes.workload.durations import draw_durations
from hermes.workload.lengths import draw_lengths
from hermes.workload.streams import stream

__all__ = ["Draws", "Place"]

Place = tuple[int, ...]
"""Numbers of the loop rounds and branches that lead to a stage."""


class Draws:
    """Draws for each of `requests` requests, made a column at a time when first asked for."""

    def __init__(self, seed: int, requests: int) -> None:
        self._seed = seed
        self._requests = requests
        # Numbers side by side, which come out as Python's own: a fifth of a list's memory.
        self._columns: dict[tuple[str, Place], memoryview] = {}

    def tokens(self, spec: LengthSpec, name: str, request: int, place: Place) -> int:
        """Return a token count."""
        if isinstance(spec, int):
            return spec
        drawn: int = self._column(name, place, lambda n, rng: draw_lengths(spec, n, rng))[request]
        return drawn

    def ticks(self, spec: DurationSpec, name: str, request: int, place: Place) -> int:
        """Return a duration in ticks."""
        if isinstance(spec, (int, float)):
            return round(spec * TICKS_PER_MILLISECOND)
        drawn: int = self._column(name, place, lambda n, rng: draw_durations(spec, n, rng))[request]
        return drawn

    def share(self, name: str, request: int, place: Place) -> float:
        """Return a number from 0 to 1, 1 excluded."""
        drawn: float = self._column(name, place, lambda n, rng: rng.random(n))[request]
        return drawn

    def _column(
        self, name: str, place: Place, draw: Callable[[int, np.random.Generator], Any]
    ) -> memoryview:
        column = self._columns.get((name, place))
        if column is None:
            rng = stream(self._seed, "pipelines", name, *map(str, place))
            column = memoryview(draw(self._requests, rng))
            self._columns[name, place] = column
        return column
