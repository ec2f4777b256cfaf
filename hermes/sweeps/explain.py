"""What a study would run, in words and numbers, without running it; and its file's schema."""

from __future__ import annotations

from typing import Any

from hermes.errors import InfeasibleError
from hermes.scenario.loading import build_scenario
from hermes.scenario.overrides import apply_overrides
from hermes.sim.explain import explain
from hermes.sweeps.budget import budget_of, check_grid, most_trials
from hermes.sweeps.choices import Bundle, Choices
from hermes.sweeps.samplers import choose_sampler
from hermes.sweeps.spec import StudySpec
from hermes.sweeps.study import Study

__all__ = ["explain_study", "study_schema"]


def explain_study(study: Study) -> dict[str, Any]:
    """Return what a study asks, how it searches, and what its first candidate would run.

    Raises:
        InputError: its grid cannot be walked.
    """
    spec, size = study.spec, study.space.size
    chosen = choose_sampler(spec)
    if chosen.name == "grid":
        check_grid(study)
    facts: dict[str, Any] = {
        "study": spec.name,
        "question": spec.question,
        "space": {path: _told(dimension) for path, dimension in spec.space.items()},
        "points": size if size is not None else "endless",
        "sampler": chosen.name,
        "trials": most_trials(study, budget_of(study, chosen)),
        "objectives": [f"{direction} {name}" for name, direction in spec.objectives.items()],
        "constraints": [str(limit) for limit in spec.limits()],
    }
    scenario = build_scenario(
        apply_overrides(study.scenario, study.space.overrides(study.space.first()))
    )
    try:
        facts["first candidate"] = explain(scenario, study.folder)
    except InfeasibleError as error:
        facts["first candidate"] = f"cannot exist: {error}"
    return facts


def study_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a study file."""
    schema = StudySpec.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _told(dimension: Any) -> str:
    if dimension.when:
        conditions = ", ".join(
            f"{path} is {' or '.join(map(str, dimension.allowed(path)))}" for path in dimension.when
        )
        return f"{_told(dimension.model_copy(update={'when': {}}))}; when {conditions}"
    if isinstance(dimension, Choices | Bundle):
        return ", ".join(map(str, dimension.choices))
    low, high = dimension.bounds
    step = f" in steps of {dimension.step:g}" if dimension.step not in {None, 1} else ""
    return f"{low:g} to {high:g}{step}{' (log)' if dimension.log else ''}"
