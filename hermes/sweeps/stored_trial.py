"""A trial as its study's folder holds it: its row, and the scenario that gave it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from hermes.cluster import DataFile
from hermes.cluster.data import with_local_files
from hermes.errors import InputError, UnknownNameError
from hermes.evaluation.capacity import scaled
from hermes.results import is_url, open_study, pareto_front, read_rows, read_trials
from hermes.scenario.loading import build_scenario
from hermes.scenario.overrides import apply_overrides
from hermes.scenario.scenario import Scenario
from hermes.sweeps.dimension import Dimension
from hermes.sweeps.space import Point, Space

__all__ = ["StoredTrial", "read_stored_trial"]

_SHORTEST_PREFIX = 4

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StoredTrial:
    """One trial of a finished study.

    Attributes:
        row: Its row.
        point: Its values by dotted path, as the study's space writes them.
        mapping: Its scenario as plain data.
        scenario: Its scenario.
        folder: Where relative paths in it start.
        interest: The metrics its study asks for: objectives, then constraints.
        judged_by_one: Whether its row is that of one simulation; else the scenario is that of its
            first seed, and where its capacity was searched for, at that load.
    """

    row: Row
    point: Point
    mapping: Mapping[str, Any]
    scenario: Scenario
    folder: Path
    interest: tuple[str, ...]
    judged_by_one: bool = True


def read_stored_trial(
    folder: Path | str, which: str | None = None, data: Path | None = None
) -> StoredTrial:
    """Return a trial that a study's folder holds.

    Args:
        folder: What `hermes sweep --out` wrote, a folder or its URL.
        which: Its number, or the beginning of its key; default: the first of the Pareto front,
            best in the study's first objective.
        data: Where relative paths in the scenario start; default: where they did when it ran.

    Raises:
        InputError: no such trial, one without a result, or files that are not there any more.
    """
    study = open_study(folder)
    rows = read_rows(folder)
    row = _front_best(folder, study, rows) if which is None else _chosen(rows, which)
    if row["status"] != "completed":
        raise InputError(
            f"trial {row['number']} has no result: {row['status']}, {row['error']}", "--trial"
        )
    space = Space(TypeAdapter(dict[str, Dimension]).validate_python(study["space"]))
    point = space.from_parameters(space.to_parameters(space.of_row(row)))
    changes = {**space.overrides(point), "seed": row["seed"]}
    mapping = apply_overrides(_block(study, "scenario"), changes)
    home = data or _home(folder, str(study.get("files_from", ".")))
    files = [DataFile(name, str(digest)) for name, digest in _block(study, "data").items()]
    used = tuple(file for file in files if _mentions(mapping, file.name))
    try:
        mapping = with_local_files(mapping, used, home)
    except InputError as error:
        raise InputError(f"{error.message}; say with --data where it is", "", error.file) from None
    limits = [str(text).split()[0] for text in study.get("constraints", ())]  # type: ignore[attr-defined]
    interest = tuple(dict.fromkeys([*_block(study, "objectives"), *limits]))
    if study.get("evaluation"):
        mapping = _at_capacity(mapping, row)
    scenario = build_scenario(mapping)
    return StoredTrial(
        row, point, mapping, scenario, home, interest, judged_by_one=not study.get("evaluation")
    )


def _home(folder: Path | str, files_from: str) -> Path:
    return Path(files_from) if is_url(folder) else Path(folder) / files_from


def _at_capacity(mapping: dict[str, Any], row: Row) -> dict[str, Any]:
    """Return the scenario at the load that a capacity search found, where there was one."""
    load = row.get("capacity_load")
    if load is None:
        return mapping
    if load == 0:
        raise InputError(f"trial {row['number']} meets its SLO at no load", "--trial")
    scenario = build_scenario(mapping)
    _, written = scaled(scenario, 1.0)
    arrivals, _ = scaled(scenario, load / written)
    return apply_overrides(mapping, {"workload.arrivals": arrivals.model_dump(mode="json")})


def _block(study: Mapping[str, object], name: str) -> Mapping[str, Any]:
    block = study.get(name, {})
    return block if isinstance(block, Mapping) else {}


def _front_best(folder: Path | str, study: Mapping[str, object], rows: Sequence[Row]) -> Row:
    front = pareto_front(read_trials(folder), _block(study, "objectives"))
    if front.empty:
        raise InputError("no trial met the study's constraints, so name one", "--trial")
    best = int(front["number"].iloc[0])
    return next(row for row in rows if row["number"] == best)


def _chosen(rows: Sequence[Row], which: str) -> Row:
    """Return the trial of a number or key prefix; a number goes first."""
    numbered = {str(row["number"]): row for row in rows}
    if which in numbered:
        return numbered[which]
    found = [row for row in rows if str(row["trial_key"]).startswith(which)]
    if len(which) < _SHORTEST_PREFIX or not found:
        raise UnknownNameError.among("trial", which, numbered, "--trial")
    if len(found) > 1:
        numbers = ", ".join(str(row["number"]) for row in found)
        raise InputError(f"{which!r} begins the keys of several trials: {numbers}", "--trial")
    return found[0]


def _mentions(value: object, name: str) -> bool:
    if isinstance(value, Mapping):
        return any(_mentions(item, name) for item in value.values())
    if isinstance(value, list):
        return any(_mentions(item, name) for item in value)
    return value == name
