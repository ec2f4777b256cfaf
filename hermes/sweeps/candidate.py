"""Candidates: the points of a study as scenarios, keyed, and checked before anything runs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hermes.cluster import DataFile, data_files
from hermes.errors import InputError
from hermes.scenario.loading import build_scenario
from hermes.scenario.overrides import apply_overrides
from hermes.sim.deployment import resolve
from hermes.sweeps.key import trial_key
from hermes.sweeps.space import Point

__all__ = ["Candidate", "CandidateBuilder"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A point as a scenario; `problem` says why it cannot exist, where it cannot."""

    point: Point
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
    """

    scenario: Mapping[str, Any]
    folder: Path | None

    def build(self, point: Point) -> Candidate:
        """Return the candidate at a point, whether it can exist or not."""
        mapping: dict[str, Any] = dict(self.scenario)
        try:
            mapping = apply_overrides(self.scenario, point)
            scenario = build_scenario(mapping)
        except InputError as error:
            seed = mapping.get("seed", 0)
            seed = seed if isinstance(seed, int) else 0
            return Candidate(point, trial_key({"written": mapping, **point}, ()), seed, (), error)
        files = data_files(scenario, self.folder)
        key = trial_key(scenario.model_dump(mode="json"), files)
        problem = None
        try:
            resolve(scenario, self.folder)
        except InputError as error:
            problem = error
        return Candidate(point, key, scenario.seed, files, problem)
