"""Error bars: what the cost model's own error does to the metrics.

The same workload is simulated several times with the cost model made faster and slower, as far as
its errors on held-out measurements go. All else is the same, arrivals, lengths and routing, and so
are the draws between deployments of one seed: what differs between two bars is the deployments.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from hermes.costs.spread import PerturbedStepCost
from hermes.metrics.summary import Number
from hermes.scenario.scenario import Scenario
from hermes.sim.cost_origins import DOUBTFUL
from hermes.sim.deployment import ClientPlan, Deployment, resolve
from hermes.sim.simulation import SimulationResult, simulate_deployment
from hermes.workload import build_workload
from hermes.workload.streams import stream

__all__ = ["ErrorBar", "interval", "perturbed_deployments", "simulate_with_error_bars"]

_COMMON = math.sqrt(0.5)


@dataclass(frozen=True, slots=True)
class ErrorBar:
    """One metric: its value, and where 80 % of the draws lie."""

    value: Number
    low: float
    high: float
    deviation: float


def simulate_with_error_bars(
    scenario: Scenario, folder: Path | None = None, draws: int = 16
) -> tuple[SimulationResult, dict[str, ErrorBar], bool]:
    """Simulate a scenario and what its metrics would be with wrong costs.

    Args:
        scenario: The scenario.
        folder: Where relative paths in it start; default: the current folder.
        draws: Simulations with other costs; rounded up to an even number, since they come in
            pairs of opposite errors.

    Returns:
        The result, the bar of every metric that is a number in all draws, and whether any of it
        rests on costs outside what was measured.
    """
    deployment = resolve(scenario, folder)
    workload = build_workload(scenario.workload, tuple(scenario.pipelines), scenario.seed, folder)
    result = simulate_deployment(scenario, deployment, workload)
    found: dict[str, list[float]] = {}
    count = 0
    for other in perturbed_deployments(deployment, scenario.seed, draws):
        count += 1
        summary = simulate_deployment(scenario, other, workload).summary
        for name, value in summary.items():
            if value is not None:
                found.setdefault(name, []).append(float(value))
    bars = {
        name: ErrorBar(result.summary[name], *interval(values), _deviation(values))
        for name, values in found.items()
        if len(values) == count and result.summary[name] is not None
    }
    return result, bars, result.cost_origins.doubtful >= DOUBTFUL


def perturbed_deployments(deployment: Deployment, seed: int, draws: int) -> Iterator[Deployment]:
    """Yield the deployment with costs that are wrong, in pairs of opposite errors.

    The errors depend on the seed alone, so that all deployments of a study are off alike.
    """
    random = stream(seed, "cost-error")
    for _ in range((draws + 1) // 2):
        common, decode, prefill = (float(x) for x in random.standard_normal(3))
        for sign in (1, -1):
            yield _perturbed(deployment, sign, (common, decode, prefill))


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return between which values 80 % of some draws lie; of few, the least and the greatest."""
    ordered = sorted(values)
    tail = round(0.1 * (len(ordered) - 1))
    return ordered[tail], ordered[len(ordered) - 1 - tail]


def _deviation(values: Sequence[float]) -> float:
    return stdev(values, mean(values)) if len(values) > 1 else 0.0


def _perturbed(deployment: Deployment, sign: int, draw: tuple[float, float, float]) -> Deployment:
    clients = tuple(_perturbed_client(client, sign, draw) for client in deployment.clients)
    return dataclasses.replace(deployment, clients=clients)


def _perturbed_client(
    client: ClientPlan, sign: int, draw: tuple[float, float, float]
) -> ClientPlan:
    """Return a client whose costs are off; half of the variance is common to all its steps."""
    common, decode, prefill = draw
    spread = client.costs.spread
    factors = (
        math.exp(sign * spread.decode * _COMMON * (common + decode)),
        math.exp(sign * spread.prefill * _COMMON * (common + prefill)),
    )
    return dataclasses.replace(client, costs=PerturbedStepCost(client.costs, *factors))
