"""One scenario in, its metrics and request log out: a pure function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from hermes.metrics import FleetUse, RequestColumns, TokenGaps, summarize
from hermes.metrics.summary import Number
from hermes.scenario.scenario import Scenario
from hermes.scenario.units import seconds_to_ticks
from hermes.sim.clock import Clock
from hermes.sim.coordinator import Coordinator, Route
from hermes.sim.deployment import ClientPlan, Deployment, resolve
from hermes.sim.engine import Engine
from hermes.sim.replica import Replica, ReplicaSetup
from hermes.sim.speculation.build import speculative_engine
from hermes.sim.speculation.replica import SpeculativeReplica
from hermes.workload import Workload, build_workload
from hermes.workload.streams import stream

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
    """

    summary: dict[str, Number]
    requests: RequestColumns
    gaps: tuple[TokenGaps, ...]
    cost_model: str
    workload_source: str


def simulate(scenario: Scenario, folder: Path | None = None) -> SimulationResult:
    """Simulate a scenario until every request is served.

    Args:
        scenario: The scenario; the same one, with its seed, gives the same result bit by bit.
        folder: Where relative paths in it start; default: the current folder.

    Raises:
        InputError: the scenario names what does not exist, or a deployment that cannot.
    """
    deployment = resolve(scenario, folder)
    workload = build_workload(scenario.workload, tuple(scenario.pipelines), scenario.seed, folder)
    return simulate_deployment(scenario, deployment, workload)


def simulate_deployment(
    scenario: Scenario,
    deployment: Deployment,
    workload: Workload,
    fast_forward: bool = True,
    check: bool = False,
) -> SimulationResult:
    """Simulate a resolved deployment under a built workload; see `simulate`.

    Args:
        scenario: Gives the seed and the SLO.
        deployment: From `resolve`.
        workload: From `build_workload`.
        fast_forward: Whether undisturbed steps are taken together; results are the same.
        check: Whether the engines' laws are checked after every block of steps.

    Raises:
        SimulationError: with `check`, when a law is broken.
    """
    env = Clock(initial_time=0)
    ttft_ticks = seconds_to_ticks((scenario.slo.ttft_ms or 0) / 1000)
    coordinator = Coordinator(env, workload, ttft_ticks)
    options = {"fast_forward": fast_forward, "check": check}
    pools = _start_replicas(env, deployment, coordinator, options, scenario.seed)
    coordinator.start(_routes(deployment, pools, workload.pipeline_names, scenario.seed))
    env.run()
    replicas = [replica for pool in pools.values() for replica in pool]
    for replica in replicas:
        replica.engine.check_drained()
    names = tuple(f"{name}/{i}" for name, pool in pools.items() for i in range(len(pool)))
    requests = coordinator.columns(names)
    fleet = FleetUse(
        devices=deployment.devices,
        usd_per_hour=deployment.usd_per_hour,
        replicas=len(replicas),
        steps=sum(replica.steps for replica in replicas),
        busy_ticks=sum(replica.busy_ticks for replica in replicas),
    )
    gaps = tuple(replica.gaps for replica in replicas)
    summary = summarize(requests, gaps, scenario.slo, fleet)
    return SimulationResult(summary, requests, gaps, deployment.cost_model, workload.source)


def _start_replicas(
    env: Clock,
    deployment: Deployment,
    coordinator: Coordinator,
    options: dict[str, bool],
    seed: int,
) -> dict[str, list[Replica]]:
    pools: dict[str, list[Replica]] = {}
    index = 0
    for client in deployment.clients:
        pools[client.name] = pool = []
        for number in range(client.replicas):
            draws = partial(stream, seed, "speculation", client.name, str(number))
            pool.append(_start_replica(env, index, client, coordinator, options, draws))
            index += 1
    return pools


def _start_replica(
    env: Clock,
    index: int,
    client: ClientPlan,
    coordinator: Coordinator,
    options: dict[str, bool],
    draws: Callable[[], np.random.Generator],
) -> Replica:
    plan, limits, order = client.speculation, client.limits, client.order()
    setup = ReplicaSetup(
        speculative_engine(plan, limits, order, draws) if plan else Engine(limits, order),
        client.batching(),
        client.costs,
        lambda tokens: seconds_to_ticks(tokens * client.move_seconds_per_token),
        **options,
    )
    on_finish = partial(coordinator.finished, front_end=client.costs.request_ticks)
    if plan:
        return SpeculativeReplica(env, index, setup, on_finish, plan.verify)
    return Replica(env, index, setup, on_finish)


def _routes(
    deployment: Deployment,
    pools: dict[str, list[Replica]],
    pipelines: tuple[str, ...],
    seed: int,
) -> tuple[Route, ...]:
    routes = []
    for pipeline in pipelines:
        plan = deployment.routes[pipeline]
        replicas = tuple(replica for name in plan.clients for replica in pools[name])
        limits = {(r.engine.limits.max_model_len, r.engine.limits.num_blocks) for r in replicas}
        policy = plan.policy(stream(seed, "routing", pipeline))
        routes.append(Route(replicas, policy, uniform=len(limits) == 1))
    return tuple(routes)
