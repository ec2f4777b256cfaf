"""Error bars of a candidate: it is judged again with costs that are wrong, all else equal.

The draws are those of the seed, the same for every candidate (common random numbers): where a cost
model is off, it is off for all of them alike, and what differs between two bars is the candidates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hermes.evaluation.runner import Runner, Tally
from hermes.evaluation.spec import EvaluationSpec
from hermes.metrics.summary import Number
from hermes.sim.error_bars import interval, perturbed_deployments

__all__ = ["HIGH", "LOW", "error_bar_columns", "error_bars"]

LOW, HIGH = ".low", ".high"
"""Suffixes of the columns with the ends of a metric's error bar."""


def error_bar_columns(spec: EvaluationSpec) -> tuple[str, ...]:
    """Return the columns that error bars add."""
    if spec.error_bars is None:
        return ()
    return tuple(name + end for name in spec.barred for end in (LOW, HIGH))


def error_bars(
    spec: EvaluationSpec, runner: Runner, judged: Callable[[Runner], dict[str, Number]]
) -> dict[str, Number]:
    """Return where 80 % of the draws find each metric; None where one of them has none.

    Args:
        spec: Says how many draws, and of which metrics.
        runner: The candidate.
        judged: Judges a candidate once.
    """
    if spec.error_bars is None:
        return {}
    drawn: list[dict[str, Number]] = []
    seed = runner.scenario.seed
    for deployment in perturbed_deployments(runner.deployment, seed, spec.error_bars):
        other = replace(runner, deployment=deployment, tally=Tally())
        drawn.append(judged(other))
        runner.tally.add(other.tally)
    found: dict[str, Number] = {}
    for name in spec.barred:
        values = [float(value) for one in drawn if (value := one.get(name)) is not None]
        ends = interval(values) if len(values) == len(drawn) else (None, None)
        found[name + LOW], found[name + HIGH] = ends
    return found
