"""Trace readers: files of recorded requests, in the layouts users have."""

from __future__ import annotations

from hermes.workload.traces.azure import read_azure_2023
from hermes.workload.traces.plain import read_hermes
from hermes.workload.traces.registry import (
    Trace,
    TraceReader,
    TraceRow,
    read_trace,
    trace_names,
    trace_reader,
)
from hermes.workload.traces.source import TraceSource
from hermes.workload.traces.table import CsvTable

__all__ = [
    "CsvTable",
    "Trace",
    "TraceReader",
    "TraceRow",
    "TraceSource",
    "read_azure_2023",
    "read_hermes",
    "read_trace",
    "trace_names",
    "trace_reader",
]
