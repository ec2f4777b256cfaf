"""The readers of trace layouts, by name."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import numpy as np

from hermes.errors import InputError, UnknownNameError
from hermes.scenario.workload import MAX_REQUESTS
from hermes.workload.traces.source import TraceSource
from hermes.workload.workload import Column

__all__ = ["Trace", "TraceReader", "TraceRow", "read_trace", "trace_names", "trace_reader"]

TraceRow: TypeAlias = tuple[int, int, int, str]
"""One request: arrival in ticks, prompt tokens, output tokens, pipeline name or ''."""

TraceReader: TypeAlias = Callable[[TraceSource], Iterator[TraceRow]]
"""Yields the requests of a file, lazily and in the order of the file.

It checks what its layout says; order, range of times and pipeline names are checked for it.
"""

_LAST_TICK = 2**63 - 1
_READERS: dict[str, TraceReader] = {}


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """The requests of a trace, as columns; `pipeline` is None where the file does not say."""

    arrival_ticks: Column
    prompt_tokens: Column
    output_tokens: Column
    pipeline: Column | None

    def __len__(self) -> int:
        return len(self.arrival_ticks)


def trace_reader(name: str) -> Callable[[TraceReader], TraceReader]:
    """Register a reader under the name that scenarios use in `requests: {trace: NAME}`."""

    def register(reader: TraceReader) -> TraceReader:
        if name in _READERS:
            raise ValueError(f"there is already a trace reader called {name!r}")
        _READERS[name] = reader
        return reader

    return register


def trace_names() -> tuple[str, ...]:
    """Return the names of all readers, sorted."""
    return tuple(sorted(_READERS))


def read_trace(
    name: str, path: Path, pipeline_names: Sequence[str] | None = None, limit: int | None = None
) -> Trace:
    """Read the first `limit` requests of a trace, or all of them.

    Rows after the limit are not looked at.

    Args:
        name: Name of the reader.
        path: The file.
        pipeline_names: What the trace's pipelines may be called; None: pass over them.
        limit: Most requests to read.

    Raises:
        InputError: with file, line and column, what was given and what is allowed.
    """
    if name not in _READERS:
        raise UnknownNameError.among("trace reader", name, _READERS, "workload.requests.trace")
    with TraceSource(path) as source:
        return _columns(source, islice(_READERS[name](source), limit), pipeline_names)


def _columns(
    source: TraceSource, rows: Iterable[TraceRow], pipeline_names: Sequence[str] | None
) -> Trace:
    names = pipeline_names or ()
    index = {name: place for place, name in enumerate(names)}
    times, prompts, outputs, pipelines = array("q"), array("q"), array("q"), array("q")
    last = 0
    for time, prompt, output, pipeline in rows:
        if time < last:
            raise source.wrong(
                "requests must be in order of time, but this one arrives"
                f" {_seconds(last - time)} s before the one above it"
            )
        if time > _LAST_TICK:
            raise source.wrong(
                "times count from the start of the simulation and end within 106 days,"
                f" got {_seconds(time)} s"
            )
        if pipeline and pipeline_names is not None:
            if pipeline not in index:
                error = UnknownNameError.among("pipeline", pipeline, names, "pipeline")
                raise error.inside("", source.file, source.line)
            pipelines.append(index[pipeline])
        if len(times) >= MAX_REQUESTS:
            raise source.wrong(f"a workload holds at most {MAX_REQUESTS:,} requests: set a limit")
        times.append(time)
        prompts.append(prompt)
        outputs.append(output)
        last = time
    if not times:
        raise InputError("the trace holds a header but no requests", "", source.file)
    return Trace(
        _column(times),
        _column(prompts),
        _column(outputs),
        _column(pipelines) if pipelines else None,
    )


def _column(values: array[int]) -> Column:
    return np.frombuffer(values, dtype=np.int64)


def _seconds(ticks: int) -> str:
    """Return whole ticks as decimal seconds, all digits that count."""
    return f"{ticks // 10**12}.{ticks % 10**12:012d}".rstrip("0").rstrip(".")
