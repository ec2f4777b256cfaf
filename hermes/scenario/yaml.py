"""Strict YAML: what YAML 1.1 would silently misread is refused with a hint.

Numbers follow YAML 1.2 (`1e3` is a number); `010`, `1:30`, `1_000`, `no` and `yes`, duplicate keys
and deep or self-referring documents are errors. Every value's line is kept for messages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hermes.errors import InputError

__all__ = ["Document", "Place", "parse_scalar", "parse_yaml", "read_yaml"]

Place = tuple[str | int, ...]

_MAX_BYTES = 16 * 2**20
_MAX_DEPTH = 64
_MAX_NODES = 200_000
_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,30})")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?")
_INTEGRAL_EXPONENT = re.compile(r"[-+]?[1-9][0-9]*[eE]\+?[0-9]{1,2}")
_AMBIGUOUS = re.compile(
    r"[-+]?0[0-9]+|[-+]?[0-9]+(:[0-5]?[0-9])+|[-+]?[0-9]+(_[0-9]+)+|yes|no|on|off|y|n",
    re.IGNORECASE,
)
_QUOTED = frozenset("'\"|>")
_SPECIAL = {"null": None, "~": None, "": None, "true": True, "false": False}
_NON_FINITE = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: its value, and the line each value stands on."""

    value: Any
    lines: dict[Place, int]
    file: str


_MOST_EXACT_EXPONENT = 15


def parse_scalar(text: str) -> Any:
    """Read one plain scalar by YAML 1.2 rules.

    Raises:
        InputError: `text` means one thing in YAML 1.1 and another in YAML 1.2.
    """
    lowered = text.lower()
    if lowered in _SPECIAL:
        return _SPECIAL[lowered]
    if lowered in _NON_FINITE:
        return float(_NON_FINITE[lowered])
    if _AMBIGUOUS.fullmatch(text):
        raise InputError(
            f"{text!r} is ambiguous in YAML: quote it to mean text, or write a plain number or "
            "true/false"
        )
    if _INT.fullmatch(text):
        return int(text)
    if _INTEGRAL_EXPONENT.fullmatch(text):
        mantissa, exponent = re.split("[eE]", text)
        if int(exponent) <= _MOST_EXACT_EXPONENT:  # beyond, it is no count but a float
            return int(mantissa) * 10 ** int(exponent)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def read_yaml(path: Path | str) -> Document:
    """Read and parse a file.

    Raises:
        InputError: the file is missing, unreadable, no UTF-8 text, too large, or not strict YAML.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"is larger than {_MAX_BYTES // 2**20} MiB", "", str(path))
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError("no such file", "", str(path)) from None
    except IsADirectoryError:
        raise InputError("is a directory; give the path of a YAML file", "", str(path)) from None
    except UnicodeDecodeError:
        raise InputError("is not UTF-8 text", "", str(path)) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", "", str(path)) from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, file: str = "") -> Document:
    """Parse YAML text; see `read_yaml`."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        node = yaml.compose(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        raise InputError(f"is not valid YAML: {error.problem}", "", file, line) from None
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"is not valid YAML: {str(error).splitlines()[0]}", "", file) from None
    except RecursionError:
        raise InputError("is nested too deeply", "", file) from None
    if node is None:
        raise InputError("is empty", "", file)
    builder = _Builder(file)
    return Document(builder.build(node, ()), builder.lines, file)


class _Builder:
    """Turns composed nodes into plain values, refusing what is unsafe or ambiguous."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[Place, int] = {}
        self._count = 0

    def build(self, node: yaml.Node, place: Place) -> Any:
        self._count += 1
        if len(place) > _MAX_DEPTH or self._count > _MAX_NODES:
            raise self._error(node, place, "is nested too deeply or expands too far")
        self.lines[place] = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            self._plain(node, place, "tag:yaml.org,2002:seq")
            return [self.build(child, (*place, i)) for i, child in enumerate(node.value)]
        return self._scalar(node, place)

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        self._plain(node, place, "tag:yaml.org,2002:map")
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._error(key_node, place, "a key must be a plain word")
            key = key_node.value
            if key == "<<":
                raise self._error(key_node, place, "merge keys (<<) are not supported")
            if key in result:
                raise self._error(key_node, (*place, key), "this key is given twice")
            result[key] = self.build(value_node, (*place, key))
        return result

    def _scalar(self, node: yaml.Node, place: Place) -> Any:
        if node.tag.startswith("!") or node.tag.startswith("tag:yaml.org,2002:python"):
            raise self._error(node, place, f"the YAML tag {node.tag!r} is not allowed")
        if isinstance(node, yaml.ScalarNode) and node.style in _QUOTED:
            return str(node.value)
        try:
            return parse_scalar(node.value)
        except InputError as error:
            raise self._error(node, place, error.message) from None

    def _plain(self, node: yaml.Node, place: Place, tag: str) -> None:
        if node.tag != tag:
            raise self._error(node, place, f"the YAML tag {node.tag!r} is not allowed")

    def _error(self, node: yaml.Node, place: Place, message: str) -> InputError:
        field = ".".join(str(part) for part in place[:8])
        return InputError(message, field, self.file, node.start_mark.line + 1)
