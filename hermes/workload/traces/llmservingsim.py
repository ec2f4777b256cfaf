"""LLMServingSim's workloads, such as its ShareGPT requests.

One JSON object a line: `input_toks`, `output_toks`, `arrival_time_ns`; optionally the tokens
themselves, `input_tok_ids` and `output_tok_ids`, or `hash_ids`, the ids of the prompt's full blocks
of 16 tokens. Prompts that begin with the same tokens share blocks either way. See
https://github.com/casys-kaist/LLMServingSim, workloads.

Its agentic layout (`sub_requests`) is closed-loop, a call begins when the one before has ended and
its tool has run, and cannot be a trace.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hermes.scenario.units import ns_to_ticks
from hermes.workload.traces.blocks import check_block_count
from hermes.workload.traces.chains import Chains
from hermes.workload.traces.jsonl import JsonLines
from hermes.workload.traces.registry import trace_reader
from hermes.workload.traces.row import TraceRow
from hermes.workload.traces.source import TraceSource

__all__ = ["read_llmservingsim"]

_BLOCK_TOKENS = 16
_FIELDS = ("input_toks", "output_toks", "arrival_time_ns")
_OPTIONAL = ("hash_ids", "input_tok_ids", "output_tok_ids", "session_id", "sub_requests")


@trace_reader("llmservingsim", "block_tokens")
def read_llmservingsim(source: TraceSource) -> Iterator[TraceRow]:
    """Yield the requests of a flat workload file."""
    table = JsonLines(source, (), (*_FIELDS, *_OPTIONAL))
    blocks = _Blocks(source, table)
    for row in table.objects():
        if "sub_requests" in row:
            raise source.wrong(
                "an agentic session is closed-loop: its calls wait for those before them; only"
                " flat workloads can be read",
                "sub_requests",
            )
        for field in _FIELDS:
            if field not in row:
                has = ", ".join(row) or "nothing"
                raise source.wrong(f"the object lacks the field {field!r} (it has: {has})")
        prompt = table.tokens(row, "input_toks")
        ids = blocks.of(row, prompt)
        yield TraceRow(
            ns_to_ticks(table.whole(row, "arrival_time_ns")),
            prompt,
            table.tokens(row, "output_toks"),
            block_ids=ids,
            block_tokens=0 if ids is None else blocks.tokens,
        )


class _Blocks:
    """Finds the blocks of a prompt, from its hashes or its tokens."""

    def __init__(self, source: TraceSource, table: JsonLines) -> None:
        self._source, self._table = source, table
        self._contents = Chains()
        self.tokens = source.options.block_tokens or _BLOCK_TOKENS

    def of(self, row: dict[str, Any], prompt: int) -> tuple[int, ...] | None:
        if "hash_ids" in row:
            ids = self._table.ids(row, "hash_ids")
            check_block_count(self._source, ids, prompt, self.tokens, partial=False)
            return ids
        if "input_tok_ids" not in row:
            return None
        tokens = self._table.ids(row, "input_tok_ids")
        if len(tokens) != prompt:
            message = f"must hold the {prompt} tokens of input_toks, got {len(tokens)}"
            raise self._source.wrong(message, "input_tok_ids")
        size = self.tokens
        ends = range(size, prompt + 1, size)
        return self._contents.number(tokens[end - size : end] for end in ends)
