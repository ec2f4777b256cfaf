"""Mooncake's traces, as published with the FAST'25 paper.

One JSON object a line: `timestamp` (whole milliseconds from the start), `input_length`,
`output_length` and `hash_ids`, the ids of the prompt's blocks of 512 tokens; a last block that is
not full has an id as well. See https://github.com/kvcache-ai/Mooncake, FAST25-release.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hermes.scenario.units import TICKS_PER_MILLISECOND
from hermes.workload.traces.blocks import check_block_count
from hermes.workload.traces.jsonl import JsonLines
from hermes.workload.traces.registry import trace_reader
from hermes.workload.traces.row import TraceRow
from hermes.workload.traces.source import TraceSource

__all__ = ["read_mooncake"]

_BLOCK_TOKENS = 512


@trace_reader("mooncake", "block_tokens")
def read_mooncake(source: TraceSource) -> Iterator[TraceRow]:
    """Yield the requests of a Mooncake trace."""
    table = JsonLines(source, ("timestamp", "input_length", "output_length", "hash_ids"))
    block_tokens = source.options.block_tokens or _BLOCK_TOKENS
    before: dict[str, Any] = {}
    for row in table.objects():
        if row == before:
            raise source.wrong("is the same request as the one above it")
        before = row
        prompt = table.tokens(row, "input_length")
        ids = table.ids(row, "hash_ids")
        check_block_count(source, ids, prompt, block_tokens, partial=True)
        yield TraceRow(
            table.whole(row, "timestamp") * TICKS_PER_MILLISECOND,
            prompt,
            table.tokens(row, "output_length"),
            block_ids=ids,
            block_tokens=block_tokens,
        )
