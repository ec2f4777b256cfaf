"""Dotted-path overrides: `clients.chat.replicas=4`, for `--set` and for a study's dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hermes.errors import InputError
from hermes.scenario.yaml import parse_yaml

__all__ = ["apply_override", "apply_overrides", "parse_override"]


def parse_override(text: str) -> tuple[str, Any]:
    """Split `path=value`; the value is read as YAML, so `4`, `null` and `[a, b]` work.

    Raises:
        InputError: there is no `=`, or a part of the path is empty.
    """
    path, equals, value = text.partition("=")
    path = path.strip()
    if not equals or not path or not all(path.split(".")):
        raise InputError(f"{text!r} is no override; write path.to.field=value", "--set")
    if not value.strip():
        return path, None
    try:
        return path, parse_yaml(value).value
    except InputError as error:
        raise InputError(error.message, path, "--set") from None


def apply_override(mapping: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy of `mapping` with the value at a dotted path replaced.

    Mappings on the way are made where absent; list items are named by their index.

    Raises:
        InputError: the path runs through a plain value, or names a list item that is not there.
    """
    head, _, rest = path.partition(".")
    copy = dict(mapping)
    copy[head] = _replaced(copy.get(head), rest, value, head) if rest else value
    return copy


def apply_overrides(mapping: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Apply several overrides, in order."""
    result = dict(mapping)
    for path, value in overrides.items():
        result = apply_override(result, path, value)
    return result


def _replaced(current: Any, path: str, value: Any, walked: str) -> Any:
    if current is None:
        return apply_override({}, path, value)
    if isinstance(current, Mapping):
        try:
            return apply_override(current, path, value)
        except InputError as error:
            raise error.inside(walked) from None
    if isinstance(current, list):
        return _replaced_item(current, path, value, walked)
    raise InputError(f"is {current!r}, a plain value, so it has no field {path!r}", walked)


def _replaced_item(current: list[Any], path: str, value: Any, walked: str) -> list[Any]:
    head, _, rest = path.partition(".")
    if not head.isdecimal() or int(head) >= len(current):
        raise InputError(f"is a list of {len(current)}; {head!r} is none of its indices", walked)
    copy = list(current)
    index = int(head)
    copy[index] = _replaced(copy[index], rest, value, f"{walked}.{head}") if rest else value
    return copy
