"""Candidates: the points of a study as scenarios, keyed, and checked before anything runs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hermes.cluster import DataFile, data_files
from hermes.errors import InfeasibleError, InputError
from hermes.evaluation import EvaluationSpec, arrivals_problem
from hermes.scenario.loading import build_scenario
from hermes.scenario.overrides import apply_overrides
from hermes.scenario.scenario import Scenario
from hermes.sim.deployment import resolve
from hermes.sweeps.constraint import Constraint
from hermes.sweeps.key import trial_key
from hermes.sweeps.space import Point, Space

__all__ = ["Candidate", "CandidateBuilder"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A point as a scenario; `problem` says why it cannot exist, where it cannot.

    `overrides` is what the point changes in the scenario.
    """

    point: Point
    overrides: Mapping[str, Any]
    key: str
    seed: int
    files: tuple[DataFile, ...]
    problem: InputError | None


@dataclass(frozen=True, slots=True)
class CandidateBuilder:
    """Makes candidates from a study's scenario.

    Attributes:
        scenario: The scenario as plain data.
        folder: Where relative paths in it start.
        space: What varies.
        evaluation: How candidates are judged.
        limits: The study's constraints; those on what is known before a simulation are checked.
    """

    scenario: Mapping[str, Any]
    folder: Path | None
    space: Space
    evaluation: EvaluationSpec
    limits: tuple[Constraint, ...] = ()

    def build(self, point: Point) -> Candidate:
        """Return the candidate at a point, whether it can exist or not."""
        mapping: dict[str, Any] = dict(self.scenario)
        changes = self.space.overrides(point)
        try:
            mapping = apply_overrides(self.scenario, changes)
            scenario = build_scenario(mapping)
        except InputError as error:
            seed = mapping.get("seed", 0)
            seed = seed if isinstance(seed, int) else 0
            key = trial_key({"written": mapping, **changes}, ())
            return Candidate(point, changes, key, seed, (), error)
        plain = scenario.model_dump(mode="json")
        files = data_files(plain, self.folder)
        judged = None if self.evaluation.plain else self.evaluation.written()
        key = trial_key(plain, files, judged)
        return Candidate(point, changes, key, scenario.seed, files, self._problem(scenario))

    def _problem(self, scenario: Scenario) -> InputError | None:
        try:
            deployment = resolve(scenario, self.folder)
        except InputError as error:
            return error
        if self.evaluation.capacity is not None:
            problem = arrivals_problem(scenario)
            if problem is not None:
                return problem
        known = {"devices": deployment.devices, "cost_per_hour": deployment.usd_per_hour}
        for limit in self.limits:
            if limit.metric in known and limit.excess(known) > 0:
                value = known[limit.metric]
                shown = "unknown" if value is None else f"{value:.15g}"
                return InfeasibleError(f"{limit.metric} is {shown}, the study allows {limit}")
        return None
