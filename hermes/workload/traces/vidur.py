"""Vidur's processed traces, and length files in the same layout (Etalon's among them).

Columns: `num_prefill_tokens`, `num_decode_tokens`; `arrived_at` (seconds from the start) where
times are known, otherwise the scenario says when requests come; `num_total_tokens` and `pd_ratio`
follow from the others. See https://github.com/microsoft/vidur, data/processed_traces.
"""

from __future__ import annotations

from collections.abc import Iterator

from hermes.workload.traces.registry import trace_reader
from hermes.workload.traces.row import TraceRow
from hermes.workload.traces.source import TraceSource
from hermes.workload.traces.table import CsvTable

__all__ = ["read_vidur"]

_LENGTHS = ("num_prefill_tokens", "num_decode_tokens")


@trace_reader("vidur")
def read_vidur(source: TraceSource) -> Iterator[TraceRow]:
    """Yield the requests of a processed trace."""
    table = CsvTable(source, _LENGTHS, ("arrived_at", "num_total_tokens", "pd_ratio"))
    further = [name for name in ("arrived_at", "num_total_tokens") if name in table.columns]
    for prefill, decode, *rest in table.rows(*_LENGTHS, *further):
        cells = dict(zip(further, rest, strict=True))
        stamp, total = cells.get("arrived_at"), cells.get("num_total_tokens")
        prompt = table.tokens(prefill, "num_prefill_tokens")
        output = table.tokens(decode, "num_decode_tokens")
        if total is not None and table.whole(total, "num_total_tokens") != prompt + output:
            raise source.wrong(
                f"must be the sum of the two others, {prompt + output}, got {total}",
                "num_total_tokens",
            )
        time = None if stamp is None else table.seconds(stamp, "arrived_at")
        yield TraceRow(time, prompt, output)
