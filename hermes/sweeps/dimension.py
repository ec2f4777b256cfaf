"""A dimension of a search space, told by how it is written: choices, a range, or a bundle.

A dimension with a finite number of values counts them from 0. Any dimension may apply only `when`
another one has some value.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from hermes.errors import did_you_mean
from hermes.scenario.base import Spec
from hermes.sweeps.choices import Bundle, Choices
from hermes.sweeps.conditional import wrong_dimension
from hermes.sweeps.ranges import FloatRange, IntRange

__all__ = ["Dimension"]


def _pick(value: Any) -> Any:
    if isinstance(value, Spec):
        return value
    if isinstance(value, list):
        if not value:
            raise wrong_dimension("the list of choices is empty")
        return Choices.model_validate({"choices": value})
    ranges: dict[str, type[Spec]] = {
        "int": IntRange, "float": FloatRange, "choices": Choices, "bundle": Bundle
    }  # fmt: skip
    given = [key for key in value if key in ranges] if isinstance(value, dict) else []
    if len(given) == 1:
        return ranges[given[0]].model_validate(value)
    hint = ""
    if isinstance(value, dict) and value and not given:
        hint = f", got the key {next(iter(value))!r}{did_you_mean(next(iter(value)), ranges)}"
    elif not isinstance(value, dict):
        hint = f", got {value!r}; a value that stays the same goes under `set`"
    raise wrong_dimension(
        "a dimension is a list of choices, {int: [low, high]} or {float: [low, high]}, a range "
        "with `step` or `log` if wanted, {choices: [...], when: {...}}, or {bundle: {NAME: "
        f"{{path: value}}}}}}{hint}"
    )


_Written = Annotated[list[Any], Field(min_length=1)] | Choices | IntRange | FloatRange | Bundle

Dimension = Annotated[
    Choices | IntRange | FloatRange | Bundle,
    BeforeValidator(_pick, json_schema_input_type=_Written),
]
"""A dimension, told by its form: a list, or the key `choices`, `int`, `float` or `bundle`."""
