"""How one candidate is judged: one simulation, several with intervals, or a capacity search.

Knows the simulator and statistics; nothing of samplers, Ray or files.
"""

from __future__ import annotations

from hermes.evaluation.capacity import CAPACITY_METRICS, arrivals_problem
from hermes.evaluation.error_bars import HIGH, LOW
from hermes.evaluation.evaluate import evaluate, evaluation_columns
from hermes.evaluation.hopeless import Bound, Hopeless, HopelessError
from hermes.evaluation.replicates import BATCHED
from hermes.evaluation.runner import Runner
from hermes.evaluation.spec import BatchesSpec, CapacitySpec, EvaluationSpec, ReplicatesSpec

__all__ = [
    "BATCHED",
    "CAPACITY_METRICS",
    "HIGH",
    "LOW",
    "BatchesSpec",
    "Bound",
    "CapacitySpec",
    "EvaluationSpec",
    "Hopeless",
    "HopelessError",
    "ReplicatesSpec",
    "Runner",
    "arrivals_problem",
    "evaluate",
    "evaluation_columns",
]
