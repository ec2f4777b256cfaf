"""LMCache's agent traces: the calls of mini-SWE-agent, MagAgent and tau-bench sessions.

Two layouts, told by their first character. As published, one JSON object a line: `timestamp`
(microseconds since 1970), `session_id`, `input` and `output` (texts). Without the texts, a CSV:
`agent`, `session_id`, `call_index`, `timestamp_us`, `input_chars`, `output_chars`,
`common_prefix_chars_with_previous_call`.

Lengths are characters and become tokens, four characters each unless the scenario says otherwise,
rounded up; a call without text, which only calls a tool, counts as one token. Calls overlap and are
not in order of time: they are sorted here, and what a prompt shares it shares with the call that
stands before it in the file. See https://github.com/LMCache/lmcache-agent-trace.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from os.path import commonprefix

from hermes.scenario.units import TICKS_PER_MILLISECOND
from hermes.workload.traces.jsonl import JsonLines
from hermes.workload.traces.ordering import in_order_of_time
from hermes.workload.traces.plain import DEFAULT_BLOCK_TOKENS
from hermes.workload.traces.registry import trace_reader
from hermes.workload.traces.row import TraceRow
from hermes.workload.traces.source import TraceSource
from hermes.workload.traces.table import CsvTable

__all__ = ["read_lmcache_agent"]

_CHARS_PER_TOKEN = 4.0
_TICKS_PER_MICROSECOND = TICKS_PER_MILLISECOND // 1000
_YEARS = (10**15, 4 * 10**15)  # 2001 to 2096, in microseconds
_COLUMNS = ("agent", "session_id", "call_index", "timestamp_us", "input_chars", "output_chars")
_SHARED = "common_prefix_chars_with_previous_call"


@dataclass(frozen=True, slots=True)
class _Call:
    """A call, in characters, and where it stands."""

    session: str
    microseconds: int
    input_chars: int
    output_chars: int
    shared_chars: int
    line: int


@trace_reader("lmcache-agent", "block_tokens", "chars_per_token")
def read_lmcache_agent(source: TraceSource) -> Iterator[TraceRow]:
    """Yield the calls of a trace, in order of time."""
    calls = list(_from_lines(source) if source.begins_with("{") else _from_table(source))
    start = min((call.microseconds for call in calls), default=0)
    return in_order_of_time(source, _rows(source, calls, start))


def _rows(source: TraceSource, calls: Iterable[_Call], start: int) -> Iterator[TraceRow]:
    """Turn characters into tokens, and what calls share into ids of blocks."""
    size = source.options.block_tokens or DEFAULT_BLOCK_TOKENS
    per_token = source.options.chars_per_token or _CHARS_PER_TOKEN
    before: dict[str, tuple[int, ...]] = {}
    fresh = 0
    for call in calls:
        source.line = call.line
        if not call.input_chars or not call.output_chars:
            source.note("without an input or output text, which counts as one token")
        prompt = _tokens(call.input_chars, per_token)
        # A block is shared when all of its characters are.
        head = before.get(call.session, ())[: int(call.shared_chars / per_token) // size]
        new = max(prompt // size - len(head), 0)
        before[call.session] = ids = (*head, *range(fresh, fresh + new))
        fresh += new
        yield TraceRow(
            (call.microseconds - start) * _TICKS_PER_MICROSECOND,
            prompt,
            _tokens(call.output_chars, per_token),
            block_ids=ids,
            block_tokens=size,
            session=call.session,
        )


def _tokens(chars: int, per_token: float) -> int:
    return max(math.ceil(chars / per_token), 1)


def _from_table(source: TraceSource) -> Iterator[_Call]:
    table = CsvTable(source, (*_COLUMNS, _SHARED))
    latest: dict[str, int] = {}
    for agent, session, index, stamp, prompt, output, shared in table.rows(*_COLUMNS, _SHARED):
        key = f"{agent.strip()}/{session.strip()}"
        call = table.whole(index, "call_index")
        if call <= latest.get(key, -1):
            message = f"must rise within a session, got {call} after {latest[key]} in {key}"
            raise source.wrong(message, "call_index")
        latest[key] = call
        chars = table.whole(prompt, "input_chars")
        common = table.whole(shared, _SHARED)
        if common > chars:
            raise table.wrong(shared, _SHARED, f"at most the {chars} characters of the input")
        yield _Call(
            key,
            _moment(source, table.whole(stamp, "timestamp_us"), "timestamp_us"),
            chars,
            table.whole(output, "output_chars"),
            common,
            source.line,
        )


def _from_lines(source: TraceSource) -> Iterator[_Call]:
    table = JsonLines(source, ("timestamp", "input", "output", "session_id"))
    before: dict[str, str] = {}
    for row in table.objects():
        session, text = table.text(row, "session_id"), table.text(row, "input")
        yield _Call(
            session,
            _moment(source, table.whole(row, "timestamp"), "timestamp"),
            len(text),
            len(table.text(row, "output")),
            len(commonprefix((before.get(session, ""), text))),  # noqa: RUF071 - of characters
            source.line,
        )
        before[session] = text


def _moment(source: TraceSource, microseconds: int, column: str) -> int:
    if not _YEARS[0] <= microseconds < _YEARS[1]:
        message = f"must be microseconds since 1970, so 16 digits, got {microseconds}"
        raise source.wrong(message, column)
    return microseconds
