"""One candidate in, its columns out."""

from __future__ import annotations

from collections.abc import Sequence

from hermes.evaluation.capacity import CAPACITY_METRICS, capacity
from hermes.evaluation.error_bars import error_bar_columns, error_bars
from hermes.evaluation.replicates import INTERVAL, replicated
from hermes.evaluation.runner import Runner
from hermes.evaluation.spec import EvaluationSpec
from hermes.metrics import METRICS
from hermes.metrics.summary import Number

__all__ = ["evaluate", "evaluation_columns"]

_COST = ("evaluation_simulations", "evaluation_saved")


def evaluate(
    spec: EvaluationSpec, runner: Runner, watched: Sequence[str] = ()
) -> dict[str, Number]:
    """Judge a candidate.

    Args:
        spec: How.
        runner: The candidate.
        watched: Metrics whose intervals decide how many replicates are enough.

    Returns:
        Every metric, and what `evaluation_columns` adds to them; `evaluation_simulations` says how
        many simulations were begun, and `evaluation_saved` which share of their requests did not
        have to be simulated.
    """

    def judged(candidate: Runner) -> dict[str, Number]:
        if spec.capacity is not None:
            return capacity(spec, spec.capacity, candidate, watched)
        return replicated(spec, candidate, watched)

    found = judged(runner)
    found |= error_bars(spec, runner, judged)
    cost: dict[str, Number] = {
        "evaluation_simulations": runner.tally.simulations,
        "evaluation_saved": runner.tally.saved,
    }
    return found | cost


def evaluation_columns(spec: EvaluationSpec) -> tuple[str, ...]:
    """Return the numeric columns beyond `METRICS` that rows have under a way of judging."""
    if spec.plain:
        return ()
    found = list(CAPACITY_METRICS) if spec.capacity is not None else []
    if spec.replicates.most > 1 or spec.batches is not None:
        found += [name + INTERVAL for name in (*METRICS, *found)]
    found += error_bar_columns(spec)
    return (*found, *_COST)
