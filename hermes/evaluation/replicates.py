"""Several simulations of one candidate, or batches of one, as metrics with intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from hermes.evaluation.runner import Runner, warm_up_count
from hermes.evaluation.spec import EvaluationSpec, ReplicatesSpec
from hermes.evaluation.statistics import half_width, mean
from hermes.metrics import METRICS, FleetUse, summarize
from hermes.metrics.summary import Number
from hermes.scenario.scenario import SloSpec
from hermes.sim.simulation import SimulationResult

__all__ = ["BATCHED", "INTERVAL", "aggregated", "batched", "counted", "enough", "replicated"]

INTERVAL = ".ci95"
"""Suffix of the column with half the width of a metric's 95 % interval."""

_PARTS = (9, 3)  # the shortest runs that are tried first
_LEAST_BATCH = 50  # requests; the spread of fewer says little
# What no request owns, or no one request: the log of gaps, the use of the devices.
_OF_THE_WHOLE_RUN = (
    "itl_ms.",
    "utilization",
    "steps",
    "energy_",
    "power_w",
    "co2_g_",
    "cost_share.",
    "completed_in_window",
    "e2el_in_window_ms.",
)
BATCHED = ("ttft_ms.", "tpot_ms.", "e2el_ms.", "queue_ms.", "slo_attainment")


def replicated(spec: EvaluationSpec, runner: Runner, watched: Sequence[str]) -> dict[str, Number]:
    """Simulate under seed after seed, until there are enough, and return means and intervals."""
    rule, first = spec.replicates, runner.scenario.seed
    summaries: list[Mapping[str, Number]] = []
    for seed in range(first, first + rule.most):
        workload = runner.workload(seed)
        if spec.batches is not None:
            return _in_batches(spec, spec.batches, runner, watched)
        result = runner.run(seed, workload)
        skip = warm_up_count(spec.warm_up, len(workload.arrival_ticks))
        summaries.append(counted(result, runner.scenario.slo, skip))
        if enough(summaries, watched, rule):
            break
    return aggregated(summaries)


def _in_batches(
    spec: EvaluationSpec, batches: int, runner: Runner, watched: Sequence[str]
) -> dict[str, Number]:
    """Simulate one seed, of its requests as many as the precision takes."""
    seed, precision, slo = runner.scenario.seed, spec.batch_precision, runner.scenario.slo
    whole = runner.workload(seed)
    least = batches * _LEAST_BATCH
    sizes = [len(whole) // part for part in _PARTS if precision is not None]
    for size in [*(size for size in sizes if size >= least), len(whole)]:
        workload = whole if size == len(whole) else whole.first(size)
        result = runner.run(seed, workload)
        skip = warm_up_count(spec.warm_up, size)
        found = counted(result, slo, skip) | batched(result, slo, skip, batches)
        if precision is not None and _precise(found, watched, precision):
            break
    runner.tally.offered = len(whole)
    return found


def _precise(found: Mapping[str, Number], watched: Sequence[str], precision: float) -> bool:
    for name in watched:
        width, value = found.get(name + INTERVAL), found.get(name)
        if width is None or value is None or width > precision * math.fabs(value):
            return False
    return True


def aggregated(
    summaries: Sequence[Mapping[str, Number]], names: Iterable[str] = METRICS
) -> dict[str, Number]:
    """Return the mean of each metric over replicates, and half the width of its interval."""
    if len(summaries) == 1:
        return dict(summaries[0])
    result: dict[str, Number] = {}
    for name in names:
        values = [value for one in summaries if (value := one[name]) is not None]
        whole = len(values) == len(summaries)
        result[name] = mean(values) if whole else None
        result[name + INTERVAL] = half_width(values) if whole else None
    return result


def counted(result: SimulationResult, slo: SloSpec, skip: int) -> dict[str, Number]:
    """Return a simulation's metrics over the requests after the first *skip*.

    Token gaps, utilisation, steps and energy belong to no single request; they stay those of the
    whole run.
    """
    if skip == 0:
        return dict(result.summary)
    whole = result.summary
    cut = summarize(result.requests.between(skip, None), result.gaps, slo, _fleet(result))
    return cut | {name: whole[name] for name in cut if name.startswith(_OF_THE_WHOLE_RUN)}


def batched(result: SimulationResult, slo: SloSpec, skip: int, batches: int) -> dict[str, Number]:
    """Return the intervals of a single run's latencies and attainment, from batches of requests.

    A batch holds requests that arrived after one another. The spread of a quantile over batches
    is taken for that of the whole run's, scaled as a mean's (Asmussen and Glynn's sectioning).
    """
    size = len(result.requests.arrival) - skip
    edges = [skip + size * part // batches for part in range(batches + 1)]
    parts = [
        summarize(result.requests.between(low, high), result.gaps, slo, _fleet(result))
        for low, high in pairwise(edges)
        if high > low
    ]
    found: dict[str, Number] = {}
    for name in METRICS:
        if name.startswith(BATCHED):
            values = [value for part in parts if (value := part[name]) is not None]
            found[name + INTERVAL] = half_width(values) if len(values) == batches else None
    return found


def enough(
    summaries: Sequence[Mapping[str, Number]], watched: Sequence[str], rule: ReplicatesSpec
) -> bool:
    """Return whether the watched metrics are known as precisely as asked."""
    if rule.precision is None or len(summaries) < rule.least:
        return False
    for name in watched:
        values = [value for one in summaries if (value := one[name]) is not None]
        width = half_width(values)
        if width is None or len(values) < len(summaries):
            return False
        if width > rule.precision * math.fabs(mean(values)):
            return False
    return True


def _fleet(result: SimulationResult) -> FleetUse:
    """Return what of the fleet a part of the requests shares with the whole."""
    price = result.summary["cost_per_hour"]
    return FleetUse(
        devices=result.summary["devices"] or 0,
        usd_per_hour=price,
        replicas=len(result.requests.replica_names),
        steps=0,
        busy_ticks=0,
        availability=result.summary["availability"] or 0.0,
    )
