"""Warm start: what an earlier study found, for a sampler to learn from and not to run again.

The earlier study may have had another space: of its trials those count whose points lie in this
one. A trial that is the same in both, by its key, is taken over as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hermes.cluster.trial import Row
from hermes.errors import HermesError, InputError
from hermes.results import is_url, parameter_column, read_rows
from hermes.sweeps.loop import outcome_of
from hermes.sweeps.samplers import Finished
from hermes.sweeps.study import Study

__all__ = ["WarmStart", "warm_start"]

_SETTLED = ("completed", "infeasible")


@dataclass(frozen=True, slots=True)
class WarmStart:
    """What an earlier study has to say to this one.

    Attributes:
        lessons: Its trials whose points lie in this study's space, for the sampler.
        rows: Its rows by trial key.
        said: The two in words, empty where there is no earlier study.
    """

    lessons: tuple[Finished, ...] = ()
    rows: Mapping[str, Row] = field(default_factory=dict)
    said: str = ""


def warm_start(study: Study) -> WarmStart:
    """Read the earlier study that a study names.

    Raises:
        InputError: There is none.
    """
    name = study.spec.warm_start
    if name is None:
        return WarmStart()
    folder = name if is_url(name) else Path(study.file).parent / Path(name).expanduser()
    try:
        rows = read_rows(folder)
    except InputError as error:
        raise InputError(f"{error.message}: {folder}", "warm_start", study.file) from None
    except HermesError as error:
        raise InputError(str(error), "warm_start", study.file) from None
    lessons = [lesson for row in rows if (lesson := _lesson(study, row)) is not None]
    settled = {str(row["trial_key"]): row for row in rows if row["status"] in _SETTLED}
    said = f"warm start: {len(lessons)} of {len(rows)} trials of {folder} lie in this space"
    return WarmStart(tuple(lessons), settled, said)


def _lesson(study: Study, row: Row) -> Finished | None:
    """Return a row as a trial of this study; None where its point is no point of its space."""
    space = study.space
    cells = {path: row.get(parameter_column(path)) for path in space.dimensions}
    try:
        parameters = space.to_parameters(cells)
        point = space.from_parameters(parameters)
    except (KeyError, ValueError, TypeError, IndexError, ArithmeticError):
        return None
    for path, parameter in parameters.items():
        if not space.dimensions[path].holds(parameter):
            return None
    if not all(path in point for path, cell in cells.items() if cell is not None):
        return None
    return Finished(-1, cells, outcome_of(study, row))
