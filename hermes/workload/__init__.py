"""Workloads: arrival processes, lengths and traces, turned into columns of requests."""

from __future__ import annotations

from hermes.workload.streams import stream
from hermes.workload.workload import Workload

__all__ = ["Workload", "stream"]
