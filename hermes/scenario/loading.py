"""From a file or a mapping to a `Scenario`, with errors for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from hermes.errors import InputError, did_you_mean
from hermes.scenario.base import Spec
from hermes.scenario.overrides import apply_overrides, parse_override
from hermes.scenario.scenario import Scenario
from hermes.scenario.yaml import Place, read_yaml

__all__ = [
    "ScenarioFile",
    "build_scenario",
    "load_scenario",
    "read_scenario",
    "validate",
]

AnySpec = TypeVar("AnySpec", bound=Spec)


@dataclass(frozen=True, slots=True)
class ScenarioFile:
    """A scenario and where it was written, so that later errors can say so too."""

    scenario: Scenario
    mapping: dict[str, Any]  # overrides applied
    path: Path
    lines: Mapping[Place, int]
    overridden: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where relative paths in the file start."""
        return self.path.parent

    def located(self, error: InputError) -> InputError:
        """Return an error about this scenario with the file and line of its field."""
        return _located(error, str(self.path), self.lines, self.overridden)


def read_scenario(path: Path | str, overrides: Sequence[str] = ()) -> ScenarioFile:
    """Read a scenario file and apply `path=value` overrides.

    Raises:
        InputError: with the file, the line and the field, what was given and what is allowed.
    """
    document = read_yaml(path)
    if not isinstance(document.value, dict):
        raise InputError("must hold a mapping of fields", "", document.file, 1)
    changed = dict(parse_override(text) for text in overrides)
    try:
        mapping = apply_overrides(document.value, changed)
        scenario = validate(Scenario, mapping)
    except InputError as error:
        raise _located(error, document.file, document.lines, tuple(changed)) from None
    return ScenarioFile(scenario, mapping, Path(path), document.lines, tuple(changed))


def load_scenario(path: Path | str, overrides: Sequence[str] = ()) -> Scenario:
    """Read a scenario file; see `read_scenario`."""
    return read_scenario(path, overrides).scenario


def build_scenario(mapping: Mapping[str, Any], file: str = "") -> Scenario:
    """Build a scenario from plain data, as a study does for each trial."""
    return validate(Scenario, mapping, file)


def validate(
    spec: type[AnySpec],
    mapping: Mapping[str, Any],
    file: str = "",
    lines: Mapping[Place, int] | None = None,
) -> AnySpec:
    """Validate plain data against a spec, turning pydantic's report into one `InputError`."""
    try:
        return spec.model_validate(dict(mapping))
    except ValidationError as error:
        raise _input_error(spec, error, mapping, file, lines or {}) from None


_REFERENCE = "unknown_reference"
_WORDS = (
    ("Tuple should", "The list should"),
    ("a valid tuple", "a list"),
    ("a valid dictionary", "a mapping"),
    (" after validation", ""),
)
"""What pydantic calls Python's types, and what they are in a YAML file."""


def _input_error(
    spec: type[Spec],
    error: ValidationError,
    mapping: Mapping[str, Any],
    file: str,
    lines: Mapping[Place, int],
) -> InputError:
    # A misspelt field is the likelier mistake than the missing one it leaves behind.
    problems = sorted(error.errors(include_url=False), key=lambda p: p["type"] != "extra_forbidden")
    first = problems[0]
    place, *rest = (_place_of(problem, mapping) for problem in problems)
    message = _message(spec, first, place)
    # What holds the wrong field, and other members of a union, only say so again.
    others = dict.fromkeys(".".join(map(str, p)) for p in rest if p != place[: len(p)])
    if others:
        message += f" (also wrong: {', '.join(list(others)[:3])})"
    return InputError(message, ".".join(map(str, place)), file, _line(place, lines))


def _place_of(problem: Any, mapping: Mapping[str, Any]) -> Place:
    """Return the place that a problem is about; a wrong reference says it itself."""
    if problem["type"] == _REFERENCE:
        parts = str(problem["ctx"]["where"]).split(".")
        return tuple(int(part) if part.isdecimal() else part for part in parts)
    return _written(problem["loc"], problem["type"], mapping)


def _written(location: Place, kind: str, data: Any) -> Place:
    """Return the part of pydantic's location that the user wrote.

    Pydantic names the union members it went through as well; those are found by walking the data.
    """
    place: list[str | int] = []
    for index, part in enumerate(location):
        if _holds(data, part):
            data = data[part]
        elif not (kind == "missing" and index == len(location) - 1):
            continue
        place.append(part)
    return tuple(place)


def _holds(data: Any, part: str | int) -> bool:
    if isinstance(data, (list, tuple)):
        return isinstance(part, int) and part < len(data)
    return isinstance(data, Mapping) and part in data


def _located(
    error: InputError, file: str, lines: Mapping[Place, int], overridden: tuple[str, ...]
) -> InputError:
    """Add the file and line of an error's field, or say that `--set` gave it."""
    if any(error.field == path or error.field.startswith(f"{path}.") for path in overridden):
        return error.inside(file=f"--set, on {file}")
    place = tuple(int(part) if part.isdecimal() else part for part in error.field.split("."))
    return error.inside(file=file, line=_line(place, lines))


def _line(place: Place, lines: Mapping[Place, int]) -> int:
    for length in range(len(place), 0, -1):
        if place[:length] in lines:
            return lines[place[:length]]
    return 0


def _message(spec: type[Spec], problem: Any, place: Place) -> str:
    kind, given = problem["type"], problem["input"]
    if kind == "extra_forbidden":
        return f"unknown field{did_you_mean(str(place[-1]), _siblings(spec, place[:-1]))}"
    if kind == "missing":
        return "this field is required"
    text = str(problem["msg"]).removeprefix("Value error, ")
    if kind == _REFERENCE:
        return text.removeprefix(f"{problem['ctx']['where']}: ")
    for python, yaml in _WORDS:
        text = text.replace(python, yaml)
    text = text[0].lower() + text[1:]
    shown = repr(given)
    if isinstance(given, (dict, list, tuple)) or len(shown) > 80:
        return text
    return f"{text}, got {shown}"


def _siblings(spec: type[Spec], place: Place) -> list[str]:
    """Return the field names allowed at a place, following the annotations down to it."""
    candidates: list[Any] = [spec]
    for part in place:
        candidates = [step for item in candidates for step in _step(item, part)]
    return [name for item in candidates for name in _fields(item)]


def _fields(item: Any) -> list[str]:
    if isinstance(item, type) and issubclass(item, Spec):
        return list(item.model_fields)
    return [name for member in _members(item) for name in _fields(member)]


def _step(item: Any, part: str | int) -> list[Any]:
    if isinstance(item, type) and issubclass(item, Spec):
        field = item.model_fields.get(str(part))
        return [field.annotation] if field is not None else []
    origin, members = getattr(item, "__origin__", None), _members(item)
    if origin is dict:
        return [members[1]]
    if origin in {list, tuple}:
        return [members[0]]
    return [step for member in members for step in _step(member, part)]


def _members(item: Any) -> tuple[Any, ...]:
    return tuple(member for member in getattr(item, "__args__", ()) if member is not Ellipsis)
