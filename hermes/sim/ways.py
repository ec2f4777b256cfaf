"""The ways requests take: a pipeline is the route of its only call, or it is walked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hermes.scenario.scenario import Scenario
from hermes.sim.coordinator import Coordinator, Walker
from hermes.sim.deployment import Deployment
from hermes.sim.fleet import Pools, build_route
from hermes.sim.network import FlowNetwork
from hermes.sim.operations.operator import Operator
from hermes.sim.pipelines.build import Builder
from hermes.sim.pipelines.draws import Draws
from hermes.sim.pipelines.plan import CallPlan
from hermes.sim.pipelines.world import World
from hermes.sim.route import Route
from hermes.sim.stations.build import start_stations
from hermes.sim.stations.station import Station
from hermes.sim.tiers.recall import Recall
from hermes.sim.warm import warm_caches
from hermes.workload import ADAPTER, Workload
from hermes.workload.choices import choose
from hermes.workload.streams import stream

__all__ = ["build_ways"]


def build_ways(
    network: FlowNetwork,
    scenario: Scenario,
    deployment: Deployment,
    workload: Workload,
    coordinator: Coordinator,
    pools: Pools,
    operator: Operator,
) -> tuple[tuple[Route | Walker, ...], Mapping[str, Sequence[Station]]]:
    """Return the way of each of the workload's pipelines, and the stations on them, started."""
    env = network.env
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
    builder = Builder(
        world, deployment.clients, pools, deployment.stations, stations, scenario.seed
    )
    ways: list[Route | Walker] = []
    first_calls: list[Route | None] = []
    first_stage = 0
    for name in workload.pipeline_names:
        plan = deployment.pipelines[name]
        routes = [
            _route(operator, network, deployment, call, _Drawing(workload, scenario.seed, name))
            for call in plan.calls
        ]
        first_calls.append(routes[0] if routes else None)
        known = plan.only_call
        if known is not None and all(_quality_of(deployment, c) is None for c in plan.clients):
            ways.append(routes[0])
        else:
            ways.append(builder.walker(plan, routes, first_stage))
        first_stage += len(plan.stage_names)
    if workload.earlier is not None:
        warm_caches(workload.earlier, first_calls)
    operator.start(network)
    return tuple(ways), stations


@dataclass(frozen=True, slots=True)
class _Drawing:
    """What the draws of a pipeline's routes depend on."""

    workload: Workload
    seed: int
    pipeline: str

    def name(self, call: CallPlan) -> str:
        """Return the name of a call's random streams."""
        return self.pipeline if call.number == 0 else f"{self.pipeline}/{call.name}"


def _route(
    operator: Operator,
    network: FlowNetwork,
    deployment: Deployment,
    call: CallPlan,
    drawing: _Drawing,
) -> Route:
    """Return the route of a call; each has random streams of its own."""
    name, seed = drawing.name(call), drawing.seed
    route = build_route(operator, network, deployment, call.route, seed, name)
    if any(c.lora is not None and c.name in call.route.clients for c in deployment.clients):
        route = replace(route, adapters=drawing.workload.attributes.get(ADAPTER))
    if call.spec.recall is None:
        return route
    count = len(drawing.workload)
    recall = Recall(call.spec.recall, route.replicas, deployment.tiers, count, (seed, name))
    return replace(route, recall=recall)


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
