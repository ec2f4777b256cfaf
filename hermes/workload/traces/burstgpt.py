"""BurstGPT: requests to ChatGPT and GPT-4 in a campus service.

Columns: `Timestamp` (seconds from midnight of the first day of all files), `Model`, `Request
tokens`, `Response tokens`, `Total tokens`, `Log Type`; later files also `Session ID` and `Elapsed
time`. Times count from the first row here: later files begin hundreds of days in. A request
without a response failed and is left out, and counted. See https://github.com/HPMLL/BurstGPT.
"""

from __future__ import annotations

from collections.abc import Iterator

from hermes.workload.traces.registry import trace_reader
from hermes.workload.traces.row import TraceRow
from hermes.workload.traces.source import TraceSource
from hermes.workload.traces.table import CsvTable

__all__ = ["read_burstgpt"]

_COUNTS = ("Request tokens", "Response tokens", "Total tokens")


@trace_reader("burstgpt")
def read_burstgpt(source: TraceSource) -> Iterator[TraceRow]:
    """Yield the requests of a BurstGPT file that were answered."""
    required = ("Timestamp", "Model", *_COUNTS, "Log Type")
    table = CsvTable(source, required, ("Session ID", "Elapsed time"))
    in_sessions = "Session ID" in table.columns
    columns = ("Timestamp", *_COUNTS, *["Session ID"] * in_sessions)
    start: int | None = None
    for stamp, *cells in table.rows(*columns):
        time = table.seconds(stamp, "Timestamp")
        start = time if start is None else start
        prompt, output = _lengths(source, table, cells)
        if output == 0 or prompt == 0:
            source.note("without a response, left out")
            continue
        yield TraceRow(
            time - start,
            table.tokens(cells[0], "Request tokens"),
            table.tokens(cells[1], "Response tokens"),
            session=cells[3].strip() if in_sessions else "",
        )


def _lengths(source: TraceSource, table: CsvTable, cells: list[str]) -> tuple[int, int]:
    """Return the counts of a row that adds up; swapped or shifted columns do not."""
    counts = zip(cells, _COUNTS, strict=False)
    prompt, output, total = (table.whole(cell, column) for cell, column in counts)
    if prompt + output != total:
        raise source.wrong(
            f"must be the sum of the two others, {prompt + output}, got {total}", "Total tokens"
        )
    return prompt, output
