"""Unions of specs that a user tells apart by a key or by the value of a field.

Left alone, pydantic reports a wrong union once for every member and puts a member's name into the
path of each. These validators look first, pick the one member that is meant and validate only
that, so that the report holds the user's own path and one message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BeforeValidator, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from hermes.errors import did_you_mean
from hermes.scenario.base import Spec

__all__ = ["by_field", "by_key", "name_among", "name_or", "validated", "word_or_key"]


def by_key(
    kind: str,
    members: Mapping[str, type[Spec]],
    whole: range | None = None,
    number: str = "",
) -> BeforeValidator:
    """Pick the member whose key the mapping holds.

    Args:
        kind: What the union is, for messages: "a length".
        members: The spec behind each key.
        whole: Whole numbers that the union accepts besides a mapping.
        number: What a bare number means, where the union accepts any and checks it itself.
    """
    if whole:
        number = f"a whole number from {whole[0]} to {whole[-1]}"
    also = f"{number} or " if number else ""

    def pick(value: Any) -> Any:
        if isinstance(value, Spec) or (whole and type(value) is int and value in whole):
            return value
        if number and not whole and type(value) in {int, float}:
            return value
        if not isinstance(value, dict):
            raise _wrong(f"{kind} is {also}a mapping with one of the keys {_listed(members)}")
        given = [key for key in value if key in members]
        if len(given) > 1:
            raise _wrong(f"{kind} has only one of the keys {_listed(members)}, not {_both(given)}")
        if not given:
            raise _wrong(f"{kind} has one of the keys {_listed(members)}" + _near(value, members))
        return validated(members[given[0]], value)

    return BeforeValidator(pick)


def by_field(kind: str, field: str, members: Mapping[str, type[Spec]]) -> BeforeValidator:
    """Pick the member that the value of `field` names."""

    def pick(value: Any) -> Any:
        if isinstance(value, Spec):
            return value
        if not isinstance(value, dict):
            raise _wrong(f"{kind} is a mapping with the key '{field}', one of {_listed(members)}")
        if field not in value:
            raise _wrong(f"{kind} needs the key '{field}', one of {_listed(members)}")
        given = value[field]
        if not isinstance(given, str) or given not in members:
            hint = did_you_mean(str(given), members)
            raise _wrong(f"{kind} has an unknown {field} {given!r}{hint}")
        return validated(members[given], value)

    return BeforeValidator(pick)


def word_or_key(
    kind: str, word: str, key: str, member: type[Spec], example: str
) -> BeforeValidator:
    """Accept one word, or the member whose key the mapping holds.

    Args:
        kind: What the union is, for messages: "a home".
        word: The word.
        key: The key.
        member: The spec behind the key.
        example: The mapping as one may write it.
    """

    def pick(value: Any) -> Any:
        if value == word or isinstance(value, member):
            return value
        if isinstance(value, dict) and list(value) == [key]:
            return member.model_validate(value)
        given = next(iter(value), "") if isinstance(value, dict) else value
        hint = did_you_mean(str(given), [word, key])
        raise _wrong(f"{kind} is {word!r} or {example}, got {value!r}{hint}")

    return BeforeValidator(pick)


def name_among(kind: str, allowed: tuple[str, ...]) -> BeforeValidator:
    """Accept only the allowed names, suggesting the nearest one."""

    def check(value: Any) -> Any:
        if value not in allowed:
            raise _wrong(f"unknown {kind}{did_you_mean(str(value), allowed)}")
        return value

    return BeforeValidator(check)


def name_or(kind: str, member: type[Spec]) -> BeforeValidator:
    """Accept a name, whatever it is, or a mapping of one spec."""

    def pick(value: Any) -> Any:
        if isinstance(value, Spec) or (isinstance(value, str) and value):
            return value
        if not isinstance(value, dict):
            raise _wrong(f"{kind} is a name or a mapping")
        return validated(member, value)

    return BeforeValidator(pick)


def validated(member: type[Spec], value: dict[Any, Any]) -> Spec:
    """Validate against one member; a misspelt field is told by that member's fields alone."""
    for key, given in value.items():
        if key not in member.model_fields:
            error = _wrong(f"unknown field{did_you_mean(str(key), member.model_fields)}")
            detail = InitErrorDetails(type=error, loc=(str(key),), input=given)
            raise ValidationError.from_exception_data(member.__name__, [detail])
    return member.model_validate(value)


def _wrong(message: str) -> PydanticCustomError:
    # A template without a context is taken as it is, so braces in names do no harm.
    return PydanticCustomError("wrong_choice", message)  # type: ignore[arg-type,unused-ignore]


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(names)


def _both(keys: list[str]) -> str:
    return " and ".join(f"'{key}'" for key in keys)


def _near(value: Mapping[Any, Any], members: Mapping[str, Any]) -> str:
    """Return what was given instead, with the nearest allowed key where there is one."""
    if not value:
        return ", got an empty mapping"
    hints = [f"'{key}'{did_you_mean(str(key), members).split(' (')[0]}" for key in value]
    return f", got {', '.join(hints[:3])}"
