"""Azure's public LLM inference traces of 2023 and 2024.

Columns: `TIMESTAMP`, `ContextTokens`, `GeneratedTokens`. In 2023 a stamp is a wall clock with up to
seven fractional digits and no zone; in 2024 it has a zone, and a fraction only where that is not 0.
See https://github.com/Azure/AzurePublicDataset, AzureLLMInferenceDataset2023 and 2024.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from hermes.scenario.units import TICKS_PER_SECOND
from hermes.workload.traces.registry import trace_reader
from hermes.workload.traces.row import TraceRow
from hermes.workload.traces.source import TraceSource
from hermes.workload.traces.table import CsvTable

__all__ = ["read_azure_2023", "read_azure_2024"]

_STAMP = r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.(\d{1,12}))?"
_EPOCH = datetime(1970, 1, 1)  # only differences count


@dataclass(frozen=True, slots=True)
class _Stamps:
    """How a year's files write a time.

    Attributes:
        pattern: What it looks like.
        allowed: The same, for people.
        distinct: Stamps are so fine that two equal rows in succession are one row twice.
    """

    pattern: re.Pattern[str]
    allowed: str
    distinct: bool


_OF_2023 = _Stamps(re.compile(_STAMP, re.ASCII), "a time like 2023-11-16 18:15:46.6805900", True)
_OF_2024 = _Stamps(
    re.compile(_STAMP + r"([+-]\d\d:\d\d)", re.ASCII),
    "a time like 2024-05-10 00:00:00.009930+00:00",
    False,
)


@trace_reader("azure-2023")
def read_azure_2023(source: TraceSource) -> Iterator[TraceRow]:
    """Yield the requests of a 2023 file, with times from its first row."""
    return _read(source, _OF_2023)


@trace_reader("azure-2024")
def read_azure_2024(source: TraceSource) -> Iterator[TraceRow]:
    """Yield the requests of a 2024 file, with times from its first row."""
    return _read(source, _OF_2024)


def _read(source: TraceSource, stamps: _Stamps) -> Iterator[TraceRow]:
    columns = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
    table = CsvTable(source, columns)
    start: int | None = None
    before: list[str] = []
    for row in table.rows(*columns):
        if row == before and stamps.distinct:
            raise source.wrong("is the same request as the one above it")
        before = row
        stamp, prompt, output = row
        time = _ticks(table, stamp, stamps)
        if start is None:
            start = time
        yield TraceRow(
            time - start,
            table.tokens(prompt, "ContextTokens"),
            table.tokens(output, "GeneratedTokens"),
        )


def _ticks(table: CsvTable, stamp: str, stamps: _Stamps) -> int:
    """Return exact ticks since 1970; strptime's %f would refuse the seventh digit."""
    match = stamps.pattern.fullmatch(stamp.strip())
    if match is None:
        raise table.wrong(stamp, "TIMESTAMP", stamps.allowed)
    second, fraction, *zone = match.groups(default="0")
    try:
        since = datetime.fromisoformat(second) - _EPOCH
    except ValueError:  # a month 13 or an hour 24
        raise table.wrong(stamp, "TIMESTAMP", stamps.allowed) from None
    whole = since.days * 86_400 + since.seconds
    if zone and zone[0][1:] != "00:00":
        ahead = int(zone[0][1:3]) * 3600 + int(zone[0][4:]) * 60
        whole -= ahead if zone[0][0] == "+" else -ahead
    return whole * TICKS_PER_SECOND + int(fraction.ljust(12, "0"))
