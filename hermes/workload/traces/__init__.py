"""Trace readers: files of recorded requests, in the layouts users have."""

from __future__ import annotations

from hermes.workload.traces.azure import read_azure_2023
from hermes.workload.traces.jsonl import JsonLines
from hermes.workload.traces.mooncake import read_mooncake
from hermes.workload.traces.plain import read_hermes
from hermes.workload.traces.registry import TraceReader, read_trace, trace_names, trace_reader
from hermes.workload.traces.row import TraceRow
from hermes.workload.traces.source import TraceOptions, TraceSource
from hermes.workload.traces.table import CsvTable
from hermes.workload.traces.trace import Trace

__all__ = [
    "CsvTable",
    "JsonLines",
    "Trace",
    "TraceOptions",
    "TraceReader",
    "TraceRow",
    "TraceSource",
    "read_azure_2023",
    "read_hermes",
    "read_mooncake",
    "read_trace",
    "trace_names",
    "trace_reader",
]
