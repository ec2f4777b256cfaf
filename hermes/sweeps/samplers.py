"""Samplers: who says which point is tried next.

Grid, random and QMC propose by index: proposal *n* is a function of the study and *n* alone, so a
resumed study goes on as if it had never stopped. The others learn; they are Optuna's, rebuilt from
the stored rows (see `optuna_sampler`).
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Protocol

from hermes.sweeps.halton import Halton
from hermes.sweeps.sampler_spec import SamplerSpec
from hermes.sweeps.space import LARGEST_GRID, Point, Space
from hermes.sweeps.spec import StudySpec

__all__ = [
    "DEFAULT_TRIALS",
    "Finished",
    "IndexSampler",
    "Outcome",
    "Proposal",
    "Sampler",
    "choose_sampler",
    "done_numbers",
    "grid_sampler",
    "missing_for",
    "qmc_sampler",
    "random_sampler",
]

DEFAULT_TRIALS = 100
_WHOLE_GRID = 1_000
_MOST_TPE_TRIALS = 1_000
_MOST_GP_TRIALS = 200
_NEEDS = {"gp": ("torch", "scipy"), "cmaes": ("cmaes",)}


@dataclass(frozen=True, slots=True)
class Proposal:
    """A point to try. `handle` is the sampler's own."""

    number: int
    point: Point
    handle: Any = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a proposal.

    Attributes:
        values: The objectives, in order; None where the trial has none.
        excesses: How far each constraint is missed, by its text; 0 or less is met.
        short: Where a pruner ended it, its standings after its short runs.
    """

    values: tuple[float, ...] | None
    excesses: Mapping[str, float]
    short: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """A trial of an earlier run: its number, its point as stored, and what became of it.

    One of an earlier study has the number -1.
    """

    number: int
    cells: Mapping[str, object]
    outcome: Outcome


class Sampler(Protocol):
    """Proposes points and learns what became of them."""

    def ask(self, explore: bool = False) -> Proposal | None:
        """Return the next proposal; None when nothing is left.

        Args:
            explore: Everything proposed lately was known already: look elsewhere.
        """

    def tell(self, proposal: Proposal, outcome: Outcome) -> None:
        """Learn what became of a proposal."""

    def most_in_flight(self, width: int) -> int | None:
        """Return how many proposals may be open at once on so many workers; None for any."""


class IndexSampler:
    """Proposes the points of a sequence, each once, leaving out what is done.

    Args:
        at: The sequence.
        end: Its length; None without end.
        done: Numbers of proposals that were settled before.
        size: How many different points there are, where they may repeat.
    """

    def __init__(
        self,
        at: Callable[[int], Point | None],
        end: int | None,
        done: AbstractSet[int],
        size: int | None = None,
    ) -> None:
        self._at = at
        self._end = end
        self._done = done
        self._size = size
        self._next = 0
        self._seen: set[bytes] = set()

    def ask(self, explore: bool = False) -> Proposal | None:
        """Return the next point of the sequence; see `Sampler`."""
        del explore
        misses = 0
        while self._end is None or self._next < self._end:
            number, self._next = self._next, self._next + 1
            point = self._at(number)
            if point is None:
                continue
            if self._size is not None:
                if len(self._seen) >= self._size or misses > 1000 + 50 * self._size:
                    return None
                identity = _identity(point)
                if identity in self._seen:
                    misses += 1
                    continue
                self._seen.add(identity)
            if number not in self._done:
                return Proposal(number, point)
        return None

    def tell(self, proposal: Proposal, outcome: Outcome) -> None:
        """Learn nothing; see `Sampler`."""

    def most_in_flight(self, width: int) -> int | None:
        """Return None: any number; see `Sampler`."""
        del width
        return None


def grid_sampler(space: Space, done: AbstractSet[int]) -> IndexSampler:
    """Return the sampler that walks the whole grid."""
    return IndexSampler(space.at, space.grid_length, done)


def random_sampler(space: Space, seed: int, done: AbstractSet[int]) -> IndexSampler:
    """Return the sampler that draws independent points, none twice."""
    return IndexSampler(lambda number: space.drawn(seed, number), None, done, space.size)


def qmc_sampler(space: Space, seed: int, done: AbstractSet[int]) -> IndexSampler:
    """Return the sampler that fills the space evenly, by a scrambled Halton sequence."""
    halton = Halton(len(space.dimensions), seed)
    return IndexSampler(
        lambda number: space.of_uniforms(halton.point(number)), None, done, space.size
    )


def choose_sampler(spec: StudySpec) -> SamplerSpec:
    """Return the sampler to use: the one named, or for `auto` the one that fits the budget.

    The whole grid where the budget covers it; otherwise NSGA-II for two objectives and NSGA-III for
    more, and for one TPE, which learns most from a trial but takes seconds for each beyond a
    thousand. A budget below two generations is too small to breed in and explores by QMC.
    Below 200 trials, and for one or two objectives, a Gaussian process learns most from each,
    where the extra `gp` is installed. Which sampler a study began with is in its study.json: a
    resume goes on with that one, or says what it needs.
    """
    if spec.sampler.name != "auto":
        return spec.sampler
    size = Space(spec.space).size
    budget = spec.trials or (_WHOLE_GRID if size is not None else DEFAULT_TRIALS)
    if size is not None and size <= min(budget, LARGEST_GRID):
        return SamplerSpec(name="grid")
    budget = spec.trials or DEFAULT_TRIALS
    if budget < _MOST_GP_TRIALS and len(spec.objectives) <= 2 and not missing_for("gp"):
        return SamplerSpec(name="gp")
    if len(spec.objectives) == 1 and budget <= _MOST_TPE_TRIALS:
        return SamplerSpec(name="tpe")
    if budget < 2 * spec.sampler.nsga2.population_size:
        return SamplerSpec(name="qmc")
    return SamplerSpec(name="nsga2" if len(spec.objectives) <= 2 else "nsga3")


def missing_for(sampler: str) -> tuple[str, ...]:
    """Return the packages that a sampler needs and that are not installed."""
    needs = _NEEDS.get(sampler, ())
    return tuple(name for name in needs if importlib.util.find_spec(name) is None)


def done_numbers(finished: Sequence[Finished]) -> frozenset[int]:
    """Return the numbers of the trials of earlier runs."""
    return frozenset(trial.number for trial in finished if trial.number >= 0)


def _identity(point: Point) -> bytes:
    text = json.dumps(point, sort_keys=True)
    return hashlib.sha256(text.encode()).digest()[:16]
