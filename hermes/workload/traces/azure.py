"""Azure's public LLM inference traces of 2023.

Columns: `TIMESTAMP` (wall clock, up to seven fractional digits), `ContextTokens`,
`GeneratedTokens`; see https://github.com/Azure/AzurePublicDataset, AzureLLMInferenceDataset2023.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

from hermes.scenario.units import TICKS_PER_SECOND
from hermes.workload.traces.registry import trace_reader
from hermes.workload.traces.row import TraceRow
from hermes.workload.traces.source import TraceSource
from hermes.workload.traces.table import CsvTable

__all__ = ["read_azure_2023"]

_STAMP = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.(\d{1,12}))?", re.ASCII)
_ALLOWED = "a time like 2023-11-16 18:15:46.6805900"
_EPOCH = datetime(1970, 1, 1)  # the stamps carry no zone; only differences count


@trace_reader("azure-2023")
def read_azure_2023(source: TraceSource) -> Iterator[TraceRow]:
    """Yield the requests of a 2023 file, with times from its first row."""
    columns = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
    table = CsvTable(source, columns)
    start: int | None = None
    for stamp, prompt, output in table.rows(*columns):
        time = _ticks(table, stamp)
        if start is None:
            start = time
        yield TraceRow(
            time - start,
            table.tokens(prompt, "ContextTokens"),
            table.tokens(output, "GeneratedTokens"),
        )


def _ticks(table: CsvTable, stamp: str) -> int:
    """Return exact ticks since 1970; strptime's %f would refuse the seventh digit."""
    match = _STAMP.fullmatch(stamp.strip())
    if match is None:
        raise table.wrong(stamp, "TIMESTAMP", _ALLOWED)
    second, fraction = match.groups(default="0")
    try:
        since = datetime.fromisoformat(second) - _EPOCH
    except ValueError:  # a month 13 or an hour 24
        raise table.wrong(stamp, "TIMESTAMP", _ALLOWED) from None
    whole = since.days * 86_400 + since.seconds
    return whole * TICKS_PER_SECOND + int(fraction.ljust(12, "0"))
