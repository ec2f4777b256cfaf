"""What a simulation reports: definitions, the request log, and summaries."""

from hermes.metrics.catalog import METRICS, Metric
from hermes.metrics.gaps import TokenGaps
from hermes.metrics.kinds import summarize_kinds
from hermes.metrics.requests import RequestColumns
from hermes.metrics.stages import PARTS, StageColumns, stage_means
from hermes.metrics.summary import FleetUse, summarize

__all__ = [
    "METRICS",
    "PARTS",
    "FleetUse",
    "Metric",
    "RequestColumns",
    "StageColumns",
    "TokenGaps",
    "stage_means",
    "summarize",
    "summarize_kinds",
]
