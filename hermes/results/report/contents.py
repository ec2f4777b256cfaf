"""What a report contains, gathered once from a study's folder for every form of output."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from hermes.errors import InputError
from hermes.results.pareto import answerable, knee_point, pareto_front
from hermes.results.place import open_place
from hermes.results.report.importance import explained_share, parameter_importance
from hermes.results.report.wording import plain, short_names
from hermes.results.schema import PARAMETER_PREFIX, STATUSES, parameter_column
from hermes.results.store import open_study, read_trials

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Reason", "Report", "gather_report"]

_ESSENTIALS = (
    "ttft_ms.p99",
    "tpot_ms.p99",
    "output_throughput",
    "slo_attainment",
    "cost_per_million_output_tokens",
    "cost_per_hour",
    "devices",
)
_MOST_COLOURS = 7


@dataclass(frozen=True, slots=True)
class Reason:
    """Why some trials gave no result."""

    status: str
    text: str
    count: int


@dataclass(frozen=True, slots=True)
class Report:
    """Everything a report says about one study.

    Trials are named by their `number`. `front` is sorted by the first objective, best first.
    """

    name: str
    question: str
    objectives: Mapping[str, str]
    constraints: tuple[str, ...]
    trials: pd.DataFrame
    front: pd.DataFrame
    knee: int | None
    best: Mapping[str, int]
    nearest_miss: int | None
    counts: Mapping[str, int]
    feasible: int
    reasons: tuple[Reason, ...]
    parameters: Mapping[str, str]
    fixed: Mapping[str, object]
    essentials: tuple[str, ...]
    colour_by: str | None
    importance: Mapping[str, Mapping[str, float]]
    provenance: Mapping[str, str]

    def trial(self, number: int) -> Mapping[str, Any]:
        """Return one trial's row."""
        row = self.trials[self.trials["number"] == number].iloc[0]
        return {str(name): value for name, value in row.items()}

    def settings(self, number: int) -> dict[str, Any]:
        """Return the values of the parameters that vary, path -> value, of one trial."""
        row = self.trial(number)
        return {path: row[parameter_column(path)] for path in self.parameters}


def gather_report(folder: str | Path) -> Report:
    """Read a study's folder and work out everything its report says.

    Raises:
        InputError: The folder holds no study, or no finished trial.
    """
    study = open_study(folder)
    trials = read_trials(folder)
    objectives = _objectives(study, folder)
    front = pareto_front(trials, objectives)
    completed = trials[trials["status"].eq("completed")]
    parameters, fixed = _parameters(trials)
    constraints = tuple(plain(text, 120) for text in _texts(study.get("constraints")))
    return Report(
        name=plain(study.get("name") or PurePosixPath(folder).name),
        question=plain(study.get("question") or "", 300),
        objectives=objectives,
        constraints=constraints,
        trials=trials,
        front=front,
        knee=_knee(front, objectives),
        best=_best(front, objectives),
        nearest_miss=_nearest_miss(completed) if front.empty else None,
        counts={name: int((trials["status"] == name).sum()) for name in STATUSES},
        feasible=int(answerable(trials).sum()),
        reasons=_reasons(trials),
        parameters=parameters,
        fixed=fixed,
        essentials=_essentials(completed, objectives, constraints),
        colour_by=_colour_by(completed, parameters, objectives),
        importance=parameter_importance(completed, list(parameters), objectives),
        provenance=_provenance(study, trials),
    )


def _objectives(study: Mapping[str, object], folder: str | Path) -> dict[str, str]:
    objectives = study.get("objectives")
    if not isinstance(objectives, dict) or not objectives:
        raise InputError(
            "the study names no objectives; expected {metric: minimize | maximize}",
            "objectives",
            str(open_place(folder).at("study.json")),
        )
    return {str(name): str(direction) for name, direction in objectives.items()}


def _texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [f"{name} {limit}" for name, limit in value.items()]
    return [str(text) for text in value] if isinstance(value, list) else []


def _parameters(trials: pd.DataFrame) -> tuple[dict[str, str], dict[str, object]]:
    """Return the parameters that vary with their short names, and the value of the others."""
    paths = [
        str(column).removeprefix(PARAMETER_PREFIX)
        for column in trials.columns
        if str(column).startswith(PARAMETER_PREFIX)
    ]
    values = {path: trials[parameter_column(path)].dropna().unique() for path in paths}
    varying = [path for path in paths if len(values[path]) > 1]
    fixed = {path: values[path][0] for path in paths if len(values[path]) == 1}
    return short_names(varying), fixed


def _knee(front: pd.DataFrame, objectives: Mapping[str, str]) -> int | None:
    if front.empty:
        return None
    values = front[list(objectives)].to_numpy(dtype=float)
    return int(front["number"].iloc[knee_point(values, list(objectives.values()))])


def _best(front: pd.DataFrame, objectives: Mapping[str, str]) -> dict[str, int]:
    best = {}
    for name, direction in objectives.items():
        if not front.empty:
            values = front[name].to_numpy(dtype=float)
            place = values.argmin() if direction == "minimize" else values.argmax()
            best[name] = int(front["number"].iloc[int(place)])
    return best


def _nearest_miss(completed: pd.DataFrame) -> int | None:
    """Return the completed trial that breaks the constraints least."""
    known = completed[completed["violation"].notna()]
    if known.empty:
        return None
    return int(known["number"].iloc[int(known["violation"].to_numpy(dtype=float).argmin())])


def _reasons(trials: pd.DataFrame) -> tuple[Reason, ...]:
    """Return why trials gave no result, most frequent first."""
    without = trials[~trials["status"].eq("completed")]
    texts = [
        (str(status), plain(error, 200) if isinstance(error, str) else "no reason recorded")
        for status, error in zip(without["status"], without["error"], strict=True)
    ]
    counted = {pair: texts.count(pair) for pair in dict.fromkeys(texts)}
    reasons = [Reason(status, text, count) for (status, text), count in counted.items()]
    return tuple(sorted(reasons, key=lambda reason: -reason.count))


def _essentials(
    completed: pd.DataFrame, objectives: Mapping[str, str], constraints: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the metrics shown beside the objectives: the constrained ones first."""
    limited = [found[0] for text in constraints if (found := re.match(r"[\w.]+", text))]
    wanted = dict.fromkeys([*limited, *_ESSENTIALS])
    return tuple(
        name
        for name in wanted
        if name not in objectives and name in completed and completed[name].notna().any()
    )


def _colour_by(
    completed: pd.DataFrame, parameters: Mapping[str, str], objectives: Mapping[str, str]
) -> str | None:
    """Return the parameter of few values that sets the objectives apart most."""
    shares = {}
    for path in parameters:
        groups = completed[parameter_column(path)]
        if 2 <= groups.nunique() <= _MOST_COLOURS:
            shares[path] = sum(explained_share(groups, completed[name]) for name in objectives)
    return max(shares, key=lambda path: shares[path]) if shares else None


def _provenance(study: Mapping[str, object], trials: pd.DataFrame) -> dict[str, str]:
    def distinct(column: str) -> str:
        values = [plain(value) for value in trials[column].dropna().unique()]
        return ", ".join(sorted(values)) or "unknown"

    hosts = trials["host"].nunique()
    started = trials["started_at"].dropna()
    scenario = study.get("scenario")
    seed = scenario.get("seed") if isinstance(scenario, dict) else None
    return {
        "Hermes": distinct("hermes_version"),
        "Study key": plain(study.get("study_key") or "unknown"),
        "Cost model": distinct("cost_model"),
        "Seed": plain(seed if seed is not None else distinct("seed")),
        "First trial": plain(started.min()) if len(started) else "unknown",
        "Last trial": plain(started.max()) if len(started) else "unknown",
        "Simulation time": f"{float(trials['trial_seconds'].sum()):,.0f} s on "
        f"{hosts} host{'' if hosts == 1 else 's'}",
    }
