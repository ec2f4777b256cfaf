"""CSV inside a trace file: a header, then rows of cells."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence

from hermes.errors import InputError, did_you_mean
from hermes.scenario.distributions import MAX_TOKENS
from hermes.workload.traces.numbers import MOST_DIGITS, decimal_ticks
from hermes.workload.traces.source import TraceSource

__all__ = ["CsvTable"]


class CsvTable:
    """A CSV table with named columns, in any order.

    Args:
        source: The file.
        required: Columns it must have.
        optional: Columns it may have; any other is an error, since a misspelt one would be lost.
        prefix: What the names of further columns begin with, of which it may have any number.
    """

    def __init__(
        self,
        source: TraceSource,
        required: Sequence[str],
        optional: Sequence[str] = (),
        prefix: str = "",
    ) -> None:
        self._source = source
        self._reader = csv.reader(source.lines(), strict=True)
        self.columns = [name.strip() for name in self._next() or []]
        self._check_header(required, optional, prefix)

    def rows(self, *columns: str) -> Iterator[list[str]]:
        """Yield the cells of the given columns, row by row; blank lines are skipped."""
        places = [self.columns.index(column) for column in columns]
        width = len(self.columns)
        while (row := self._next()) is not None:
            if len(row) != width:
                if not row:
                    continue
                raise self._source.wrong(f"the row has {len(row)} cells, the header {width}")
            yield [row[place] for place in places]

    def tokens(self, cell: str, column: str) -> int:
        """Return a token count."""
        count = self.whole(cell, column)
        if not 1 <= count <= MAX_TOKENS:
            raise self.wrong(cell, column, f"a whole number from 1 to {MAX_TOKENS}")
        return count

    def whole(self, cell: str, column: str) -> int:
        """Return a whole number, 0 or more."""
        text = cell.strip()
        # isdigit alone also takes superscripts, int alone also "1_000".
        if text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS:
            return int(text)
        raise self.wrong(cell, column, "a whole number, 0 or more")

    def integer(self, cell: str, column: str) -> int:
        """Return a whole number of either sign."""
        text = cell.strip()
        digits = text.removeprefix("-")
        if digits.isascii() and digits.isdigit() and len(digits) < MOST_DIGITS:
            return int(text)
        raise self.wrong(cell, column, "a whole number of at most 18 digits")

    def seconds(self, cell: str, column: str) -> int:
        """Return the nearest tick to a decimal number of seconds."""
        ticks = decimal_ticks(cell)
        if ticks is None:
            raise self.wrong(cell, column, "a number of seconds, 0 or more")
        return ticks

    def wrong(self, cell: str, column: str, allowed: str) -> InputError:
        """Return the error for a cell of the row read last."""
        shown = repr(cell if len(cell) <= 60 else cell[:57] + "...")
        return self._source.wrong(f"must be {allowed}, got {shown}", column)

    def _next(self) -> list[str] | None:
        try:
            return next(self._reader, None)
        except csv.Error as error:
            raise self._source.wrong(f"is not well-formed CSV: {error}") from None

    def _check_header(self, required: Sequence[str], optional: Sequence[str], prefix: str) -> None:
        known = [*required, *optional]
        if not self.columns:
            self._source.line = 1
            wanted = ",".join(required)
            raise self._source.wrong(f"there is no header; the first line must hold {wanted}")
        for column in self.columns:
            further = prefix and column.startswith(prefix) and column != prefix
            if column not in known and not further:
                hint = did_you_mean(column, known)
                raise self._source.wrong(f"the header has an unknown column {column!r}{hint}")
            if self.columns.count(column) > 1:
                raise self._source.wrong(f"the header has the column {column!r} twice")
        for column in required:
            if column not in self.columns:
                has = ", ".join(self.columns)
                raise self._source.wrong(f"the header lacks the column {column!r} (it has: {has})")
