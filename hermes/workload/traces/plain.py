"""Hermes' own trace layout: a plain CSV.

Columns: `arrival_s` (decimal seconds) or `arrival_ns` (whole nanoseconds), `prompt_tokens`,
`output_tokens` and, optionally, `pipeline`. Times count from the start of the simulation, in
order; equal times are fine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from decimal import Context, Decimal

from hermes.scenario.units import ns_to_ticks
from hermes.workload.traces.registry import TraceRow, trace_reader
from hermes.workload.traces.source import TraceSource
from hermes.workload.traces.table import CsvTable

__all__ = ["read_hermes"]

_TIMES = ("arrival_s", "arrival_ns")
_DECIMAL = re.compile(r"\+?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?|-0+(\.0*)?", re.ASCII)
_LONGEST = 60
_DIGITS = Context(prec=80)  # more than a cell of 60 characters and the tick's digits need


@trace_reader("hermes")
def read_hermes(source: TraceSource) -> Iterator[TraceRow]:
    """Yield the requests of a plain CSV."""
    table = CsvTable(source, ("prompt_tokens", "output_tokens"), (*_TIMES, "pipeline"))
    given = [column for column in _TIMES if column in table.columns]
    if len(given) != 1:
        has = "both" if given else "neither"
        raise source.wrong(f"the header needs one of arrival_s and arrival_ns, it has {has}")
    time_column = given[0]
    read_time = _readers()[time_column]
    labelled = "pipeline" in table.columns
    columns = [time_column, "prompt_tokens", "output_tokens", *["pipeline"] * labelled]
    for time, prompt, output, *label in table.rows(*columns):
        pipeline = label[0].strip() if label else ""
        if labelled and not pipeline:
            raise table.wrong("", "pipeline", "the name of a pipeline")
        yield (
            read_time(table, time),
            table.tokens(prompt, "prompt_tokens"),
            table.tokens(output, "output_tokens"),
            pipeline,
        )


def _readers() -> dict[str, Callable[[CsvTable, str], int]]:
    return {"arrival_s": _from_seconds, "arrival_ns": _from_nanoseconds}


def _from_nanoseconds(table: CsvTable, cell: str) -> int:
    return ns_to_ticks(table.whole(cell, "arrival_ns"))


def _from_seconds(table: CsvTable, cell: str) -> int:
    """Return the nearest tick to a decimal number, without a binary float in between."""
    text = cell.strip()
    if len(text) > _LONGEST or not _DECIMAL.fullmatch(text):
        raise table.wrong(cell, "arrival_s", "a number of seconds, 0 or more")
    seconds = Decimal(text)
    if seconds > 10**9:  # far beyond the 106 days that are checked for every layout
        raise table.wrong(cell, "arrival_s", "within 106 days of the start of the simulation")
    return int(_DIGITS.to_integral_value(_DIGITS.scaleb(seconds, 12)))
