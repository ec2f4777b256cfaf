"""Qwen-Bailian's usage traces: two hours of one Qwen model on Alibaba's Model Studio.

One JSON object a line: `chat_id`, `parent_chat_id` (-1 in a session's first turn), `timestamp`
(seconds from the start, with a fraction), `input_length`, `output_length`, `type` (text, search,
image or file), `turn` and `hash_ids`, the ids of the prompt's blocks of 16 tokens. A block is
hashed by itself there, so an id alone does not say what stands before it. See
https://github.com/alibaba-edu/qwen-bailian-usagetraces-anon.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hermes.workload.traces.blocks import check_block_count
from hermes.workload.traces.jsonl import JsonLines
from hermes.workload.traces.registry import trace_reader
from hermes.workload.traces.row import TraceRow
from hermes.workload.traces.source import TraceSource

__all__ = ["read_qwen_bailian"]

_BLOCK_TOKENS = 16
_LENGTHS = ("input_length", "output_length")
_FIELDS = ("chat_id", "parent_chat_id", "timestamp", *_LENGTHS, "type", "turn", "hash_ids")


@trace_reader("qwen-bailian", "block_tokens")
def read_qwen_bailian(source: TraceSource) -> Iterator[TraceRow]:
    """Yield the requests of a Qwen-Bailian trace."""
    table = JsonLines(source, _FIELDS)
    block_tokens = source.options.block_tokens or _BLOCK_TOKENS
    sessions = _Sessions(source, table)
    for row in table.objects():
        prompt = table.tokens(row, "input_length")
        ids = table.ids(row, "hash_ids")
        check_block_count(source, ids, prompt, block_tokens, partial=None)
        yield TraceRow(
            table.seconds(row, "timestamp"),
            prompt,
            table.tokens(row, "output_length"),
            block_ids=ids,
            block_tokens=block_tokens,
            session=sessions.of(row),
        )


class _Sessions:
    """Follows chats to the first turn of their session.

    A session is a tree: an answer asked for again has the same parent and the same turn. Where a
    parent came before the trace began, its number stands for the session.
    """

    def __init__(self, source: TraceSource, table: JsonLines) -> None:
        self._source, self._table = source, table
        self._root: dict[int, int] = {}

    def of(self, row: dict[str, Any]) -> str:
        chat, parent = self._table.whole(row, "chat_id"), row["parent_chat_id"]
        if type(parent) is not int or parent < -1:
            allowed = "the number of a chat, or -1 for none"
            raise self._table.wrong(parent, "parent_chat_id", allowed)
        if chat in self._root:
            raise self._source.wrong(f"chat {chat} stands in the trace twice", "chat_id")
        root = chat if parent == -1 else self._root.get(parent, parent)
        self._root[chat] = root
        return str(root)
