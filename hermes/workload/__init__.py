"""Workloads: arrival processes, lengths and traces, turned into columns of requests."""

from __future__ import annotations

from hermes.workload.adapters import ADAPTER
from hermes.workload.arrivals import arrival_ticks
from hermes.workload.build import build_workload
from hermes.workload.lengths import draw_lengths
from hermes.workload.streams import stream
from hermes.workload.traces import (
    CsvTable,
    JsonLines,
    Trace,
    TraceOptions,
    TraceReader,
    TraceRow,
    TraceSource,
    read_trace,
    trace_names,
    trace_reader,
)
from hermes.workload.workload import ClosedLoop, Column, Prefixes, Workload

__all__ = [
    "ADAPTER",
    "ClosedLoop",
    "Column",
    "CsvTable",
    "JsonLines",
    "Prefixes",
    "Trace",
    "TraceOptions",
    "TraceReader",
    "TraceRow",
    "TraceSource",
    "Workload",
    "arrival_ticks",
    "build_workload",
    "draw_lengths",
    "read_trace",
    "stream",
    "trace_names",
    "trace_reader",
]
