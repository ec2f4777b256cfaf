"""Rows of layouts that are not in order of time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hermes.workload.traces.row import TraceRow
from hermes.workload.traces.source import TraceSource

__all__ = ["in_order_of_time"]


def in_order_of_time(source: TraceSource, rows: Iterable[TraceRow]) -> Iterator[TraceRow]:
    """Yield all rows by time, those of one time as they stand in the file.

    All of the file is read, whatever the limit. `source.line` stays that of the row.
    """
    held = [(row.arrival_ticks or 0, source.line, row) for row in rows]
    for _, line, row in sorted(held, key=lambda entry: entry[:2]):
        source.line = line
        yield row
