"""RAGPulse: a week of questions to a university's retrieval-augmented service.

One JSON object a line: `timestamp` (whole seconds, as a text), `input_length`, `output_length`,
`session_id` and `hash_ids`, an object with lists of ids: `sys_prompt`, `passages_ids`, `history`,
`web_search`, `user_input`. Five dictionaries beside the trace give each id's `token_length`; they
keep their upstream names, with or without .gz. Lines are not in order of time and are sorted here.

A prompt is its parts in the order in which the object lists them; the few tokens of the template,
which the dictionaries do not count, come last. So blocks are shared as far as the parts are. See
https://github.com/flashserve/RAGPulse.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hermes.errors import InputError
from hermes.scenario.units import TICKS_PER_SECOND
from hermes.workload.traces.chains import Chains
from hermes.workload.traces.jsonl import JsonLines
from hermes.workload.traces.ordering import in_order_of_time
from hermes.workload.traces.plain import DEFAULT_BLOCK_TOKENS
from hermes.workload.traces.registry import trace_reader
from hermes.workload.traces.row import TraceRow
from hermes.workload.traces.source import TraceSource

__all__ = ["dictionary_names", "read_ragpulse"]

_FIELDS = ("timestamp", "input_length", "output_length", "hash_ids", "session_id")
_PARTS = {
    "sys_prompt": ("1_sys_prompt", "sys_prompt_id"),
    "passages_ids": ("2_passages", "passage_id"),
    "history": ("3_history", "history_id"),
    "web_search": ("5_web_search", "web_search_id"),
    "user_input": ("4_user_input", "user_input_id"),
}
_MOST_DIGITS = 9


@trace_reader("ragpulse", "block_tokens")
def read_ragpulse(source: TraceSource) -> Iterator[TraceRow]:
    """Yield the requests of a trace, in order of time."""
    folder = source.path.parent
    lengths = {part: _dictionary(folder, *names) for part, names in _PARTS.items()}
    return in_order_of_time(source, _rows(source, lengths))


def dictionary_names() -> tuple[str, ...]:
    """Return the file names that dictionaries beside a trace may have."""
    return tuple(f"{file}.jsonl{end}" for file, _ in _PARTS.values() for end in ("", ".gz"))


def _rows(source: TraceSource, lengths: dict[str, dict[int, int]]) -> Iterator[TraceRow]:
    table = JsonLines(source, _FIELDS)
    blocks = _Blocks(source, lengths)
    for row in table.objects():
        stamp = table.text(row, "timestamp").strip()
        if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= _MOST_DIGITS):
            raise table.wrong(row["timestamp"], "timestamp", "whole seconds in quotes, like '82'")
        prompt = table.tokens(row, "input_length")
        yield TraceRow(
            int(stamp) * TICKS_PER_SECOND,
            prompt,
            table.tokens(row, "output_length"),
            block_ids=blocks.of(table, row["hash_ids"], prompt),
            block_tokens=blocks.tokens,
            session=table.text(row, "session_id"),
        )


class _Blocks:
    """Cuts prompts that are made of parts into blocks."""

    def __init__(self, source: TraceSource, lengths: dict[str, dict[int, int]]) -> None:
        self._source, self._lengths = source, lengths
        self._pieces = Chains()
        self._ends: dict[tuple[int, int], int] = {}
        self.tokens = source.options.block_tokens or DEFAULT_BLOCK_TOKENS

    def of(self, table: JsonLines, parts: Any, prompt: int) -> tuple[int, ...]:
        """Return ids for the full blocks of a prompt's parts."""
        if not isinstance(parts, dict) or set(parts) != set(_PARTS):
            allowed = f"an object with the keys {', '.join(_PARTS)}"
            raise table.wrong(parts, "hash_ids", allowed)
        pieces = [(part, name) for part in _PARTS for name in table.ids(parts, part)]
        lengths = [self._length(part, name) for part, name in pieces]
        if sum(lengths) > prompt:
            message = (
                f"the parts have {sum(lengths)} tokens, more than the {prompt} of input_length"
            )
            raise self._source.wrong(message, "hash_ids")
        return self._cut(self._pieces.number(pieces), lengths)

    def _cut(self, pieces: tuple[int, ...], lengths: list[int]) -> tuple[int, ...]:
        """Number blocks by the piece they end in, which stands for all before it, and where."""
        ends, size, ids = self._ends, self.tokens, []
        place = size  # where the next block ends, from the start of the piece
        for piece, length in zip(pieces, lengths, strict=True):
            while place <= length:
                ids.append(ends.setdefault((piece, place), len(ends)))
                place += size
            place -= length
        return tuple(ids)

    def _length(self, part: str, name: int) -> int:
        if name not in self._lengths[part]:
            message = f"{part} {name} stands in no line of its dictionary {_PARTS[part][0]}.jsonl"
            raise self._source.wrong(message, "hash_ids")
        return self._lengths[part][name]


def _dictionary(folder: Path, file: str, key: str) -> dict[int, int]:
    """Read the token length of each id of one kind."""
    names = (f"{file}.jsonl", f"{file}.jsonl.gz")
    path = next((folder / name for name in names if (folder / name).exists()), None)
    if path is None:
        message = (
            f"the dictionary {names[0]} (or .gz) must lie beside the trace, in {str(folder)!r}"
        )
        raise InputError(message, "workload.requests.path")
    found: dict[int, int] = {}
    with TraceSource(path) as source:
        table = JsonLines(source, (key, "token_length"))
        for row in table.objects():
            name = table.whole(row, key)
            if name in found:
                raise source.wrong(f"{key} {name} stands in the dictionary twice", key)
            found[name] = table.whole(row, "token_length")
    return found
