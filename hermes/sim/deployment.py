"""From a scenario to a deployment that can exist: names looked up, sizes checked, memory counted.

Nothing here simulates, and nothing imports SimPy: a study resolves every candidate before it runs
any.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hermes.errors import InputError
from hermes.scenario.clients import LlmClientSpec
from hermes.scenario.scenario import Scenario
from hermes.sim.llm_client import ClientPlan, plan_client
from hermes.sim.lora.plan import require_alike
from hermes.sim.pipelines.belongings import require_belongings
from hermes.sim.pipelines.plan import PipelinePlan, plan_pipeline
from hermes.sim.pipelines.reach import require_reach
from hermes.sim.route_plan import RoutePlan
from hermes.sim.stations.plan import StationPlan, plan_station
from hermes.sim.tiers.plan import TierPlans, resolve_tiers
from hermes.sim.topology import ReplicaSite, Topology, resolve_topology

__all__ = ["ClientPlan", "Deployment", "RoutePlan", "resolve"]


@dataclass(frozen=True, slots=True)
class Deployment:
    """A scenario's clients and pipelines, checked.

    Attributes:
        clients: Those that serve language models.
        stations: The others.
        pipelines: By name.
        topology: Where all of them stand; first the replicas of the LLM clients, then the stations
            with devices of their own.
        tiers: Memory tiers that some of the replicas use.
    """

    clients: tuple[ClientPlan, ...]
    stations: tuple[StationPlan, ...]
    pipelines: dict[str, PipelinePlan]
    topology: Topology
    tiers: TierPlans = field(default_factory=TierPlans)

    @property
    def devices(self) -> int:
        """Devices of all clients."""
        llms = sum(client.devices for client in self.clients)
        return llms + sum(station.devices for station in self.stations)

    @property
    def usd_per_hour(self) -> float | None:
        """Price of all devices for an hour; None where one has no price."""
        total = 0.0
        for price, devices in self._prices():
            if price is None:
                return None
            total += price * devices
        return total

    def _prices(self) -> Iterator[tuple[float | None, int]]:
        for client in self.clients:
            yield client.usd_per_device_hour, client.devices
        for station in self.stations:
            if station.devices:
                yield station.usd_per_device_hour, station.devices

    @property
    def cost_model(self) -> str:
        """Where step times come from, for reports."""
        labels = []
        for client in self.clients:
            labels.append(client.costs.label)
            if client.speculation is not None:
                labels.append(client.speculation.verify.label)
        labels += [station.label for station in self.stations]
        return "; ".join(dict.fromkeys(label for label in labels if label))


def resolve(scenario: Scenario, folder: Path | None = None) -> Deployment:
    """Check that a scenario's deployment can exist, and return it.

    Args:
        scenario: The scenario.
        folder: Where relative paths in it start; default: the current folder.

    Raises:
        UnknownNameError: a device, model, policy or client that nothing answers to.
        InfeasibleError: a model that does not fit, a size that does not divide.
    """
    clients, stations = [], []
    for name, spec in scenario.clients.items():
        if isinstance(spec, LlmClientSpec):
            clients.append(plan_client(name, spec, scenario, folder))
        else:
            stations.append(plan_station(name, spec, scenario))
    pipelines = {
        name: plan_pipeline(name, spec, scenario, clients, stations, folder)
        for name, spec in scenario.pipelines.items()
    }
    for pipeline in pipelines.values():
        require_belongings(pipeline, clients)
    require_alike(pipelines.values(), clients)
    _require_reached(scenario, pipelines)
    topology = _topology(scenario, clients, stations)
    for pipeline in pipelines.values():
        require_reach(pipeline, topology, {s.name: s.on for s in stations if s.on})
    tiers = _tiers(scenario, clients, topology)
    return Deployment(tuple(clients), tuple(stations), pipelines, topology, tiers)


def _tiers(scenario: Scenario, clients: list[ClientPlan], topology: Topology) -> TierPlans:
    uses = {client.name: client.kv for client in clients if client.kv is not None}
    specs = None if scenario.topology is None else scenario.topology.tiers
    return resolve_tiers(specs, topology, uses)


def _topology(
    scenario: Scenario, clients: list[ClientPlan], stations: list[StationPlan]
) -> Topology:
    standing = [(c.name, c.device, c.devices_per_replica, c.replicas) for c in clients]
    standing += [
        (s.name, s.device, s.devices_per_replica, s.replicas)
        for s in stations
        if s.device is not None and not s.on
    ]
    return resolve_topology(
        scenario.topology,
        [
            ReplicaSite(name, number, device, devices)
            for name, device, devices, replicas in standing
            for number in range(replicas)
        ],
    )


def _require_reached(scenario: Scenario, pipelines: dict[str, PipelinePlan]) -> None:
    mix = scenario.workload.mix
    reached = {
        client
        for name, pipeline in pipelines.items()
        if mix is None or mix.get(name, 0) > 0
        for client in pipeline.clients
    }
    idle = [name for name in scenario.clients if name not in reached]
    if idle:
        raise InputError(
            "no pipeline reaches this client; remove it or route to it", f"clients.{idle[0]}"
        )
