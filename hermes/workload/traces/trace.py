"""The requests of a trace, as columns, and the checks that every layout shares."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hermes.errors import InputError, UnknownNameError
from hermes.scenario.workload import MAX_REQUESTS
from hermes.workload.traces.chains import Chains, SessionChains
from hermes.workload.traces.row import TraceRow
from hermes.workload.traces.source import TraceSource
from hermes.workload.workload import Column, Prefixes

__all__ = ["Trace", "collect"]

_LAST_TICK = 2**63 - 1
_NOTHING_ELSE = TraceRow(0, 1, 1)[3:]


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """The requests of a trace; what the file does not say is None.

    Attributes:
        arrival_ticks: When each arrives.
        prompt_tokens: Tokens of each prompt.
        output_tokens: Tokens of each output.
        pipeline: Index of each one's pipeline.
        priority: Priority of each.
        prefixes: What the prompts begin with.
        session: Index of each one's session, in order of first turns; -1 where it has none.
        attributes: Further whole numbers of each, by name.
        notes: What the reader left out or took otherwise than written, for people.
    """

    arrival_ticks: Column | None
    prompt_tokens: Column
    output_tokens: Column
    pipeline: Column | None
    priority: Column | None = None
    prefixes: Prefixes | None = None
    session: Column | None = None
    attributes: Mapping[str, Column] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.prompt_tokens)


def collect(
    source: TraceSource, rows: Iterable[TraceRow], pipeline_names: Sequence[str] | None
) -> Trace:
    """Check rows that belong together and turn them into columns.

    Raises:
        InputError: at the first row out of order, out of range, or against another row.
    """
    times, prompts, outputs = _Times(source), array("q"), array("q")
    parts = (
        _Pipelines(source, pipeline_names),
        _Priorities(),
        _Sessions(source),
        _Blocks(source),
        _Attributes(),
    )
    for index, row in enumerate(rows):
        times.add(row[0])
        if index >= MAX_REQUESTS:
            raise source.wrong(f"a workload holds at most {MAX_REQUESTS:,} requests: set a limit")
        if row[3:] != _NOTHING_ELSE:
            for part in parts:
                part.add(index, row)
        prompts.append(row[1])
        outputs.append(row[2])
    if not prompts:
        raise InputError("the trace holds no requests", "", source.file)
    pipelines, priorities, sessions, blocks, attributes = parts
    return Trace(
        times.column(),
        _column(prompts),
        _column(outputs),
        pipelines.column(),
        priorities.column(len(prompts)),
        blocks.prefixes(len(prompts)),
        sessions.column(len(prompts)),
        attributes.columns(),
        tuple(source.notes()),
    )


class _Times:
    """Arrivals, in order."""

    def __init__(self, source: TraceSource) -> None:
        self._source = source
        self._ticks = array("q")
        self._last = 0

    def add(self, ticks: int | None) -> None:
        if ticks is None:
            return
        if ticks < self._last:
            raise self._source.wrong(
                "requests must be in order of time, but this one arrives"
                f" {_seconds(self._last - ticks)} s before the one above it"
            )
        if ticks > _LAST_TICK:
            raise self._source.wrong(
                "times count from the start of the simulation and end within 106 days,"
                f" got {_seconds(ticks)} s"
            )
        self._ticks.append(ticks)
        self._last = ticks

    def column(self) -> Column | None:
        return _column(self._ticks) if self._ticks else None


class _Pipelines:
    """Pipelines by name."""

    def __init__(self, source: TraceSource, names: Sequence[str] | None) -> None:
        self._source = source
        self._names = names
        self._index = {name: place for place, name in enumerate(names or ())}
        self._chosen = array("q")

    def add(self, index: int, row: TraceRow) -> None:
        del index  # a layout names a pipeline in every row or in none
        if not row.pipeline or self._names is None:
            return
        if row.pipeline not in self._index:
            error = UnknownNameError.among("pipeline", row.pipeline, self._names, "pipeline")
            raise error.inside("", self._source.file, self._source.line)
        self._chosen.append(self._index[row.pipeline])

    def column(self) -> Column | None:
        return _column(self._chosen) if self._chosen else None


class _Priorities:
    """Priorities; 0 where a row has none."""

    def __init__(self) -> None:
        self._given: dict[int, int] = {}

    def add(self, index: int, row: TraceRow) -> None:
        if row.priority is not None:
            self._given[index] = row.priority

    def column(self, count: int) -> Column | None:
        return _spread(self._given, count, 0) if self._given else None


class _Attributes:
    """Further numbers; a layout gives a name in every row or in none."""

    def __init__(self) -> None:
        self._values: dict[str, array[int]] = {}

    def add(self, index: int, row: TraceRow) -> None:
        del index
        for name, value in row.attributes:
            self._values.setdefault(name, array("q")).append(value)

    def columns(self) -> dict[str, Column]:
        return {name: _column(values) for name, values in self._values.items()}


class _Sessions:
    """Sessions, numbered, with their turns in order."""

    def __init__(self, source: TraceSource) -> None:
        self._source = source
        self._index: dict[str, int] = {}
        self._turns: dict[str, tuple[int, int]] = {}
        self._of: dict[int, int] = {}

    def add(self, index: int, row: TraceRow) -> None:
        if not row.session:
            return
        self._of[index] = self._index.setdefault(row.session, len(self._index))
        if row.turn is None:
            return
        turn, line = self._turns.get(row.session, (-1, 0))
        if row.turn == turn:
            raise self._source.wrong(
                f"turn {turn} of session {row.session!r} already stands in line {line}"
            )
        if row.turn < turn:
            raise self._source.wrong(
                f"turns of a session must be in order, but turn {row.turn} of session"
                f" {row.session!r} comes after turn {turn} in line {line}"
            )
        self._turns[row.session] = (row.turn, self._source.line)

    def column(self, count: int) -> Column | None:
        return _spread(self._of, count, -1) if self._of else None


class _Blocks:
    """Blocks of the prompts, from ids or from sessions."""

    def __init__(self, source: TraceSource) -> None:
        self._source = source
        self._chains = Chains()
        self._sessions = SessionChains()
        self._ids: list[tuple[int, ...]] = []
        self._block_tokens = 0

    def add(self, index: int, row: TraceRow) -> None:
        if not row.block_tokens:
            return
        self._ids.extend(() for _ in range(index - len(self._ids)))
        if row.block_tokens != (self._block_tokens or row.block_tokens):
            raise self._source.wrong(
                f"all blocks of a trace have one size, got {row.block_tokens} tokens after"
                f" {self._block_tokens}",
                "block_tokens",
            )
        self._block_tokens = row.block_tokens
        if row.block_ids is None:
            self._ids.append(self._sessions.number(row))
        else:
            self._ids.append(self._chains.number(row.block_ids))

    def prefixes(self, count: int) -> Prefixes | None:
        if not self._block_tokens:
            return None
        self._ids.extend(() for _ in range(count - len(self._ids)))
        return Prefixes(self._block_tokens, tuple(self._ids))


def _column(values: array[int]) -> Column:
    return np.frombuffer(values, dtype=np.int64)


def _spread(given: dict[int, int], count: int, other: int) -> Column:
    """Return a column with some values given and all others alike."""
    column = np.full(count, other, dtype=np.int64)
    column[list(given)] = list(given.values())
    return column


def _seconds(ticks: int) -> str:
    """Return whole ticks as decimal seconds, all digits that count."""
    return f"{ticks // 10**12}.{ticks % 10**12:012d}".rstrip("0").rstrip(".")
