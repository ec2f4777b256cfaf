"""The ways requests take: a pipeline is the route of its only call, or it is walked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hermes.scenario.scenario import Scenario
from hermes.sim.clock import Clock
from hermes.sim.coordinator import Coordinator, Walker
from hermes.sim.deployment import Deployment
from hermes.sim.fleet import Pools, build_route
from hermes.sim.network import FlowNetwork
from hermes.sim.operations.operator import Operator
from hermes.sim.operations.start_up import store_links
from hermes.sim.pipelines.build import Builder, require_attributes
from hermes.sim.pipelines.draws import Draws
from hermes.sim.pipelines.plan import CallPlan, PipelinePlan
from hermes.sim.pipelines.world import World
from hermes.sim.route import Route
from hermes.sim.stations.build import start_stations
from hermes.sim.stations.station import Station
from hermes.workload import Workload
from hermes.workload.choices import choose
from hermes.workload.streams import stream

__all__ = ["build_ways"]


def build_ways(
    env: Clock,
    scenario: Scenario,
    deployment: Deployment,
    workload: Workload,
    coordinator: Coordinator,
    pools: Pools,
    operator: Operator,
) -> tuple[tuple[Route | Walker, ...], Mapping[str, Sequence[Station]]]:
    """Return the way of each of the workload's pipelines, and the stations on them, started."""
    links = (*deployment.topology.links, *store_links(deployment.clients))
    network = FlowNetwork(env, links)
    replicas = sum(len(pool) for pool in pools.values())
    stations = start_stations(env, deployment.stations, deployment.topology, network, replicas)
    world = World(
        env,
        coordinator,
        network,
        deployment.topology,
        workload,
        Draws(scenario.seed, len(workload)),
        _difficulty(scenario, len(workload)),
    )
    builder = Builder(world, deployment.clients, pools, deployment.stations, stations)
    ways: list[Route | Walker] = []
    first_stage = 0
    for name in workload.pipeline_names:
        plan = deployment.pipelines[name]
        require_attributes(plan, tuple(workload.attributes))
        routes = _routes(network, deployment, pools, plan, scenario.seed, operator)
        known = plan.only_call
        if known is not None and all(_quality_of(deployment, c) is None for c in plan.clients):
            ways.append(routes[0])
        else:
            ways.append(builder.walker(plan, routes, first_stage))
        first_stage += len(plan.stage_names)
    operator.start(network)
    return tuple(ways), stations


def _routes(
    network: FlowNetwork,
    deployment: Deployment,
    pools: Pools,
    plan: PipelinePlan,
    seed: int,
    operator: Operator,
) -> list[Route]:
    """Return the routes of a pipeline's calls; each has a random stream of its own."""
    calls = [leaf for leaf in plan.leaves() if isinstance(leaf, CallPlan)]
    return [
        build_route(
            network,
            deployment,
            pools,
            call.route,
            seed,
            plan.name if call.number == 0 else f"{plan.name}/{call.name}",
            operator,
        )
        for call in calls
    ]


def _quality_of(deployment: Deployment, client: str) -> object:
    return next((c.quality for c in deployment.clients if c.name == client), None)


def _difficulty(scenario: Scenario, requests: int) -> Sequence[str]:
    """Draw the difficulty class of each request; none where the scenario has none."""
    weights = scenario.workload.difficulty
    if weights is None:
        return ()
    drawn = stream(scenario.seed, "workload", "difficulty").random(requests)
    names = list(weights)
    return [names[number] for number in choose(list(weights.values()), drawn).tolist()]
