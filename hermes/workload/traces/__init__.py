"""Trace readers: files of recorded requests, in the layouts users have."""

from __future__ import annotations

from hermes.workload.traces.azure import read_azure_2023, read_azure_2024
from hermes.workload.traces.bailian import read_qwen_bailian
from hermes.workload.traces.burstgpt import read_burstgpt
from hermes.workload.traces.jsonl import JsonLines
from hermes.workload.traces.llmservingsim import read_llmservingsim
from hermes.workload.traces.lmcache import read_lmcache_agent
from hermes.workload.traces.mooncake import read_mooncake
from hermes.workload.traces.plain import read_hermes
from hermes.workload.traces.ragpulse import read_ragpulse
from hermes.workload.traces.registry import TraceReader, read_trace, trace_names, trace_reader
from hermes.workload.traces.row import TraceRow
from hermes.workload.traces.source import TraceOptions, TraceSource
from hermes.workload.traces.table import CsvTable
from hermes.workload.traces.trace import Trace
from hermes.workload.traces.vidur import read_vidur

__all__ = [
    "CsvTable",
    "JsonLines",
    "Trace",
    "TraceOptions",
    "TraceReader",
    "TraceRow",
    "TraceSource",
    "read_azure_2023",
    "read_azure_2024",
    "read_burstgpt",
    "read_hermes",
    "read_llmservingsim",
    "read_lmcache_agent",
    "read_mooncake",
    "read_qwen_bailian",
    "read_ragpulse",
    "read_trace",
    "read_vidur",
    "trace_names",
    "trace_reader",
]
