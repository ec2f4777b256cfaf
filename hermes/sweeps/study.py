"""A study, loaded: its file, its scenario, its space; checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hermes import __version__
from hermes.cluster import DataFile
from hermes.errors import InfeasibleError, InputError, UnknownNameError
from hermes.scenario.loading import build_scenario, validate
from hermes.scenario.overrides import apply_overrides, parse_override
from hermes.scenario.yaml import read_yaml
from hermes.sweeps.candidate import CandidateBuilder
from hermes.sweeps.choices import Bundle
from hermes.sweeps.dimension import Dimension
from hermes.sweeps.find import find_study
from hermes.sweeps.key import digest
from hermes.sweeps.ranges import FloatRange, IntRange
from hermes.sweeps.space import Point, Space
from hermes.sweeps.spec import StudySpec
from hermes.workload import build_workload

__all__ = ["Study", "load_study"]


@dataclass(frozen=True, slots=True)
class Study:
    """A study ready to run.

    Attributes:
        spec: The study as written, without the dimensions that an override fixed.
        file: Its file, for messages.
        scenario: The scenario as plain data, with every fixed change applied.
        scenario_file: Its file, for messages.
        folder: Where relative paths in the scenario start.
        files: The files that any of its candidates reads.
    """

    spec: StudySpec
    file: str
    scenario: Mapping[str, Any]
    scenario_file: str
    folder: Path
    files: tuple[DataFile, ...]

    @property
    def name(self) -> str:
        """Its name."""
        return self.spec.name

    @property
    def space(self) -> Space:
        """The search space."""
        return Space(self.spec.space)

    @property
    def candidates(self) -> CandidateBuilder:
        """What makes its candidates."""
        spec = self.spec
        return CandidateBuilder(
            self.scenario, self.folder, self.space, spec.evaluation, spec.limits()
        )

    def record(self) -> dict[str, Any]:
        """Return what study.json says: all that the rows depend on, and how to read them."""
        spec = self.spec
        name = spec.sampler.name
        options = spec.sampler.options()
        content: dict[str, Any] = {
            "name": spec.name,
            "question": spec.question,
            "objectives": dict(spec.objectives),
            "constraints": [str(limit) for limit in spec.limits()],
            "space": self.space.written(),
            "sampler": {name: options} if options else name,
            "seed": spec.seed,
            "scenario": dict(self.scenario),
            "data": {file.name: file.digest for file in self.files},
            "hermes_version": __version__,
        }
        if not spec.evaluation.plain:
            content["evaluation"] = spec.evaluation.written()
        if spec.stop_hopeless:
            content["stop_hopeless"] = True
        if spec.pruner is not None:
            content["pruner"] = spec.pruner.model_dump(mode="json")
        if spec.warm_start is not None:
            content["warm_start"] = spec.warm_start
        return content | {"study_key": digest(content)}


def load_study(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Study:
    """Read a study and check it by building candidates, so that nothing starts that cannot end.

    Args:
        name_or_path: A study's file, or the name of one that ships with Hermes.
        overrides: `path=value` on top of the scenario; a dimension of the space is fixed by it.

    Raises:
        InputError: with the file and the field, what was given and what is allowed.
    """
    document = read_yaml(find_study(name_or_path))
    if not isinstance(document.value, dict):
        raise InputError("must hold a mapping of fields", "", document.file, 1)
    spec = validate(StudySpec, document.value, document.file, document.lines)
    fixed = dict(parse_override(text) for text in overrides)
    for path in spec.set:
        if path in spec.space:
            raise InputError(
                "is in `space` as well; it varies or it stays", f"set.{path}", document.file
            )
    _check_space(spec, document.file)
    free, fixed = _fixed(spec, fixed)
    spec = spec.model_copy(update={"space": free})
    written, scenario_file, folder = _scenario(spec, document.file)
    try:
        scenario = apply_overrides(written, spec.set | fixed)
    except InputError as error:
        raise error.inside("set", document.file) from None
    study = Study(spec, document.file, scenario, scenario_file, folder, ())
    files = _check(study)
    return Study(spec, document.file, scenario, scenario_file, folder, files)


def _fixed(
    spec: StudySpec, given: Mapping[str, Any]
) -> tuple[dict[str, Dimension], dict[str, Any]]:
    """Return the dimensions that overrides leave free, and what the others are fixed to.

    A dimension that depends on a fixed one applies everywhere from then on, or nowhere.
    """
    free: dict[str, Dimension] = {}
    gone: set[str] = set()
    for path, dimension in spec.space.items():
        if path in given:
            continue
        conditions = {name: value for name, value in dimension.when.items() if name not in given}
        met = dimension.model_copy(update={"when": {n: dimension.when[n] for n in dimension.when
                                                   if n in given}})  # fmt: skip
        if not met.applies(given) or gone & set(conditions):
            gone.add(path)
            continue
        free[path] = dimension.model_copy(update={"when": conditions})
    if not free:
        raise InputError("fixes the last dimension of the study: nothing varies", "--set")
    changes: dict[str, Any] = {}
    for path, value in given.items():
        known = spec.space.get(path)
        if isinstance(known, Bundle) and value not in known.bundle:
            raise UnknownNameError.among("bundle", str(value), known.bundle, f"--set {path}")
        changes |= {path: value} if known is None else known.settings(path, value)
    return free, changes


def _check_space(spec: StudySpec, file: str) -> None:
    """Check what dimensions say of one another."""
    owners: dict[str, str] = {}
    for path, dimension in spec.space.items():
        for name in dimension.when:
            if name not in spec.space:
                raise UnknownNameError.among(
                    "dimension", name, spec.space, f"space.{path}.when"
                ).inside("", file)
            if list(spec.space).index(name) >= list(spec.space).index(path):
                raise InputError(
                    f"{name!r} stands after this dimension; write it before",
                    f"space.{path}.when",
                    file,
                )
        names = dimension.settings(path, dimension.at(0))
        for name in names:
            other = owners.setdefault(name, path)
            exclusive = path in spec.space and dimension.when
            if other != path and not exclusive:
                raise InputError(f"{name!r} is set by {other!r} as well", f"space.{path}", file)


def _scenario(spec: StudySpec, file: str) -> tuple[dict[str, Any], str, Path]:
    folder = Path(file).parent
    if not isinstance(spec.scenario, str):
        return spec.scenario, file, folder
    path = folder / Path(spec.scenario).expanduser()
    try:
        document = read_yaml(path)
    except InputError as error:
        if error.line:
            raise
        raise InputError(f"{error.message}: {path}", "scenario", file) from None
    if not isinstance(document.value, dict):
        raise InputError("must hold a mapping of fields", "", document.file, 1)
    return document.value, document.file, path.parent


def _check(study: Study) -> tuple[DataFile, ...]:
    """Build the first candidate, then each choice of each dimension on top of it.

    Returns the files they read. A candidate that cannot exist is fine here, since others may; a
    name that nothing answers to, or a field that there is not, is a mistake.
    """
    first = study.space.first()
    for path, dimension in study.spec.space.items():
        for setting in dimension.settings(path, dimension.at(0)):
            _require_block(study, setting)
    files = _checked(study, first, "")
    _check_workload(study, first)
    for path, dimension in study.spec.space.items():
        values = (
            dimension.bounds if isinstance(dimension, IntRange | FloatRange) else dimension.choices
        )
        skip = 0 if dimension.when else 1
        for value in values[skip:]:
            files |= _checked(study, study.space.reaching(path, value), path)
    return tuple(files.values())


def _checked(study: Study, point: Point, path: str) -> dict[str, DataFile]:
    candidate = study.candidates.build(point)
    if candidate.problem is not None and not isinstance(candidate.problem, InfeasibleError):
        raise _placed(study, candidate.problem, path)
    return {file.name: file for file in candidate.files}


def _check_workload(study: Study, point: Point) -> None:
    """Build the traffic of a candidate, so that a bad trace is one message and not all trials."""
    scenario = build_scenario(apply_overrides(study.scenario, study.space.overrides(point)))
    try:
        build_workload(scenario.workload, tuple(scenario.pipelines), scenario.seed, study.folder)
    except InputError as error:
        raise _placed(study, error, "") from None


def _placed(study: Study, error: InputError, path: str) -> InputError:
    """Say in which file a candidate's mistake stands, and in which field of it."""
    field = error.field
    if error.file:
        return error
    for kind, paths in (("space", [path] if path else study.spec.space), ("set", study.spec.set)):
        for known in paths:
            if known and _overlap(field, known):
                rest = field if field != known and field.startswith(known) else known
                return type(error)(error.message, f"{kind}.{rest}", study.file)
    return type(error)(error.message, field, study.scenario_file)


def _overlap(one: str, other: str) -> bool:
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def _require_block(study: Study, path: str) -> None:
    """Refuse a path into a named block that the scenario lacks: it would be made, and be empty."""
    block, _, rest = path.partition(".")
    name, _, field = rest.partition(".")
    kinds = {"clients": "client", "pipelines": "pipeline", "devices": "device"}
    if block not in kinds or not field:
        return
    known = study.scenario.get(block)
    if isinstance(known, Mapping) and name not in known:
        raise UnknownNameError.among(kinds[block], name, known, f"space.{path}").inside(
            "", study.file
        )
