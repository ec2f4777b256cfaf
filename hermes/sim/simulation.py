"""One scenario in, its metrics and request log out: a pure function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from hermes.metrics import RequestColumns, TokenGaps, summarize
from hermes.metrics.summary import Number
from hermes.scenario.scenario import Scenario
from hermes.scenario.units import seconds_to_ticks
from hermes.sim.classes import classes_of
from hermes.sim.clock import Clock
from hermes.sim.coordinator import Coordinator
from hermes.sim.cost_origins import CostOrigins, cost_origins
from hermes.sim.deployment import Deployment, resolve
from hermes.sim.fits import require_fit
from hermes.sim.fleet import RunOptions, build_network, start_replicas
from hermes.sim.laws import check_drained
from hermes.sim.link import LinkUse
from hermes.sim.operations.operator import Operator
from hermes.sim.operations.use import fleet_use
from hermes.sim.replica import Observer
from hermes.sim.request_log import RequestLog
from hermes.sim.tiers.connect import connect_tiers
from hermes.sim.tiers.store import TierUse
from hermes.sim.users import own_arrivals
from hermes.sim.ways import build_ways
from hermes.workload import Workload, build_workload

__all__ = ["SimulationResult", "simulate", "simulate_deployment"]


@dataclass(frozen=True, slots=True)
class SimulationResult:
    """What one simulation found.

    Attributes:
        summary: Metrics by name (see `hermes.metrics.METRICS`); None where undefined.
        requests: The request log.
        gaps: Every gap between two tokens of a request, one log a replica.
        cost_model: Where step times came from.
        workload_source: Where the requests came from.
        tiers: What each instance of a memory tier did.
        links: What each link carried.
        cost_origins: What the busy time of the devices rests on.
    """

    summary: dict[str, Number]
    requests: RequestColumns
    gaps: tuple[TokenGaps, ...]
    cost_model: str
    workload_source: str
    tiers: tuple[TierUse, ...] = ()
    links: tuple[LinkUse, ...] = ()
    cost_origins: CostOrigins = field(default_factory=lambda: CostOrigins(()))


def simulate(
    scenario: Scenario, folder: Path | None = None, check: bool = False
) -> SimulationResult:
    """Simulate a scenario until every request is served.

    Args:
        scenario: The scenario; the same one, with its seed, gives the same result bit by bit.
        folder: Where relative paths in it start; default: the current folder.
        check: Whether the engines' laws are checked all along, at some cost in time.

    Raises:
        InputError: the scenario names what does not exist, or a deployment that cannot.
        SimulationError: a law of the simulator was broken.
    """
    deployment = resolve(scenario, folder)
    workload = build_workload(scenario.workload, tuple(scenario.pipelines), scenario.seed, folder)
    return simulate_deployment(scenario, deployment, workload, check=check)


def simulate_deployment(
    scenario: Scenario,
    deployment: Deployment,
    workload: Workload,
    fast_forward: bool = True,
    check: bool = False,
    observer: Observer | None = None,
    on_finished: Callable[[int, int, int, int], None] | None = None,
) -> SimulationResult:
    """Simulate a resolved deployment under a built workload; see `simulate`.

    Args:
        scenario: Gives the seed and the SLO.
        deployment: From `resolve`.
        workload: From `build_workload`.
        fast_forward: Whether undisturbed steps are taken together; results are the same.
        check: Whether the engines' laws are checked after every block of steps.
        observer: Is shown every batch that a replica forms.
        on_finished: Hears of each request as it finishes, and may end the simulation by raising.

    Raises:
        InputError: the deployment and the workload do not go together.
        SimulationError: with `check`, when a law is broken.
    """
    require_fit(scenario, deployment, workload)
    env = Clock(initial_time=0)
    workload = own_arrivals(workload)
    ttft_ticks = seconds_to_ticks((scenario.slo.ttft_ms or 0) / 1000)
    stage_names = tuple(deployment.pipelines[name].stage_names for name in workload.pipeline_names)
    classes = classes_of(scenario, workload)
    log = RequestLog(workload, stage_names, classes)
    coordinator = Coordinator(env, workload, log, ttft_ticks, on_finished, classes)
    options = RunOptions(fast_forward, check, observer)
    pools = start_replicas(env, deployment, coordinator, options, scenario.seed)
    replicas = [replica for pool in pools.values() for replica in pool]
    network = build_network(env, deployment)
    tiers = connect_tiers(env, network, deployment.tiers, replicas)
    operator = Operator(env, deployment, pools, coordinator, scenario.seed)
    ways, stations = build_ways(
        network, scenario, deployment, workload, coordinator, pools, operator
    )
    coordinator.start(ways)
    env.run()
    while operator.give_up():
        env.run()
    for tier in tiers:
        tier.check_drained()
    for replica in replicas:
        check_drained(replica.engine)
    for pool in stations.values():
        for station in pool:
            station.check_drained()
    coordinator.check_drained()
    names = tuple(f"{name}/{i}" for name, pool in pools.items() for i in range(len(pool)))
    served = tuple(f"{name}/{i}" for name, pool in stations.items() for i in range(len(pool)))
    requests = log.columns(names, (*names, *served))
    origins = cost_origins(deployment, pools, stations)
    fleet = fleet_use(scenario, deployment, pools, stations, operator.instances, requests)
    fleet = replace(fleet, cost_shares=origins.shares())
    gaps = tuple(replica.gaps for replica in replicas)
    limit = scenario.workload.limit
    duration = limit.duration_s if limit else None
    window = None if duration is None else seconds_to_ticks(duration)
    summary = summarize(requests, gaps, scenario.slo, fleet, window)
    return SimulationResult(
        summary,
        requests,
        gaps,
        deployment.cost_model,
        workload.source,
        tuple(tier.use() for tier in tiers),
        network.uses(),
        origins,
    )
