"""The readers of trace layouts, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from hermes.errors import InputError, UnknownNameError, did_you_mean
from hermes.workload.traces.row import TraceRow
from hermes.workload.traces.source import TraceOptions, TraceSource
from hermes.workload.traces.trace import Trace, collect

__all__ = ["TraceReader", "read_trace", "trace_names", "trace_reader"]

TraceReader: TypeAlias = Callable[[TraceSource], Iterator[TraceRow]]
"""Yields the requests of a file, lazily and in the order of the file.

It checks what its layout says; order, range of times, pipeline names, turns and block sizes are
checked for it.
"""

_READERS: dict[str, TraceReader] = {}
_OPTIONS: dict[str, tuple[str, ...]] = {}


def trace_reader(name: str, *options: str) -> Callable[[TraceReader], TraceReader]:
    """Register a reader under the name that scenarios use in `requests: {trace: NAME}`.

    Args:
        name: The name.
        options: Fields of `TraceOptions` that it heeds; others are refused for it.
    """

    def register(reader: TraceReader) -> TraceReader:
        if name in _READERS:
            raise ValueError(f"there is already a trace reader called {name!r}")
        _READERS[name] = reader
        _OPTIONS[name] = options
        return reader

    return register


def trace_names() -> tuple[str, ...]:
    """Return the names of all readers, sorted."""
    return tuple(sorted(_READERS))


def read_trace(
    name: str,
    path: Path,
    pipeline_names: Sequence[str] | None = None,
    limit: int | None = None,
    options: TraceOptions | None = None,
) -> Trace:
    """Read the first `limit` requests of a trace, or all of them.

    Rows after the limit are not looked at, except in layouts that are not in order of time.

    Args:
        name: Name of the reader.
        path: The file.
        pipeline_names: What the trace's pipelines may be called; None: pass over them.
        limit: Most requests to read.
        options: What the layout leaves open.

    Raises:
        InputError: with file, line and column, what was given and what is allowed.
    """
    if name not in _READERS:
        raise UnknownNameError.among("trace reader", name, _READERS, "workload.requests.trace")
    given = options or TraceOptions()
    for option in given.given():
        if option not in _OPTIONS[name]:
            hint = did_you_mean(option, _OPTIONS[name])
            message = f"the layout {name!r} has no use for it{hint}"
            raise InputError(message, f"workload.requests.{option}")
    with TraceSource(path, given) as source:
        return collect(source, islice(_READERS[name](source), limit), pipeline_names)
