"""JSON lines inside a trace file: one object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from hermes.errors import InputError, did_you_mean
from hermes.scenario.distributions import MAX_TOKENS
from hermes.workload.traces.numbers import decimal_ticks
from hermes.workload.traces.source import TraceSource

__all__ = ["JsonLines"]

_LONGEST_LINE = 1 << 26  # some layouts write out whole prompts
_LARGEST = 2**63 - 1


class JsonLines:
    """Objects with named fields, one a line; blank lines are skipped.

    Args:
        source: The file.
        required: Fields each object must have.
        optional: Fields it may have; any other is an error, since a misspelt one would be lost.
    """

    def __init__(
        self, source: TraceSource, required: Sequence[str], optional: Sequence[str] = ()
    ) -> None:
        self._source = source
        self._required = frozenset(required)
        self._known = frozenset((*required, *optional))

    def objects(self) -> Iterator[dict[str, Any]]:
        """Yield the objects, line by line; numbers with a fraction are Decimals."""
        read = json.JSONDecoder(parse_float=Decimal, parse_constant=str).decode
        for line in self._source.lines(_LONGEST_LINE):
            if not line.strip():
                continue
            try:
                value = read(line)
            except (ValueError, RecursionError) as error:
                raise self._source.wrong(f"is not a line of JSON: {_reason(error)}") from None
            if not isinstance(value, dict):
                raise self._source.wrong(f"each line must hold a JSON object, got {_shown(value)}")
            if not (self._required <= value.keys() <= self._known):
                raise self._unlike(value)
            yield value

    def tokens(self, row: dict[str, Any], field: str) -> int:
        """Return a token count."""
        count = row[field]
        if type(count) is not int or not 1 <= count <= MAX_TOKENS:
            raise self.wrong(count, field, f"a whole number from 1 to {MAX_TOKENS}")
        return count

    def whole(self, row: dict[str, Any], field: str) -> int:
        """Return a whole number, 0 or more."""
        count = row[field]
        if type(count) is not int or not 0 <= count <= _LARGEST:
            raise self.wrong(count, field, "a whole number, 0 or more")
        return count

    def seconds(self, row: dict[str, Any], field: str) -> int:
        """Return the nearest tick to a number of seconds."""
        given = row[field]
        ticks = decimal_ticks(str(given)) if type(given) in {int, Decimal} else None
        if ticks is None:
            raise self.wrong(given, field, "a number of seconds, 0 or more")
        return ticks

    def text(self, row: dict[str, Any], field: str) -> str:
        """Return a text."""
        given = row[field]
        if not isinstance(given, str):
            raise self.wrong(given, field, "a text")
        return given

    def ids(self, row: dict[str, Any], field: str) -> tuple[int, ...]:
        """Return a list of whole numbers, 0 or more."""
        given = row[field]
        if not isinstance(given, list):
            raise self.wrong(given, field, "a list of whole numbers")
        for item in given:
            if type(item) is not int or item < 0:
                raise self.wrong(item, field, "a list of whole numbers, 0 or more")
        return tuple(given)

    def wrong(self, given: Any, field: str, allowed: str) -> InputError:
        """Return the error for a field of the object read last."""
        return self._source.wrong(f"must be {allowed}, got {_shown(given)}", field)

    def _unlike(self, row: dict[str, Any]) -> InputError:
        for field in row:
            if field not in self._known:
                hint = did_you_mean(field, self._known)
                return self._source.wrong(f"the object has an unknown field {field!r}{hint}")
        missing = sorted(self._required - row.keys())
        has = ", ".join(row) or "nothing"
        return self._source.wrong(f"the object lacks the field {missing[0]!r} (it has: {has})")


def _shown(value: Any) -> str:
    text = str(value) if isinstance(value, Decimal) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos + 1}"
    return str(error) or "nested too deeply"
