"""What a replica does before it takes requests: its process starts, and its weights arrive."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from math import inf
from typing import Any

from simpy import Event

from hermes.sim.clock import Clock
from hermes.sim.link import Link
from hermes.sim.llm_client import ClientPlan
from hermes.sim.network import FlowNetwork
from hermes.sim.operations.plan import StartUpPlan
from hermes.sim.replica import Replica
from hermes.sim.topology import Topology

__all__ = ["StartUp", "store_links"]


class StartUp:
    """Starts the replicas of a client.

    Args:
        env: The SimPy environment.
        network: What weights flow over, sharing it with everything else.
        topology: Paths.
        client: Name of the client.
        plan: What its replicas need.
    """

    def __init__(
        self, env: Clock, network: FlowNetwork, topology: Topology, client: str, plan: StartUpPlan
    ) -> None:
        self._env = env
        self._network = network
        self._topology = topology
        self._client = client
        self._plan = plan

    def run(self, replica: Replica) -> Generator[Event, Any, None]:
        """Start a replica; over when it could take requests."""
        plan = self._plan
        if plan.ticks:
            yield self._env.timeout(plan.ticks)
        if plan.weight_bytes:
            loaded = self._env.event()
            self._network.transfer(self._path(replica), plan.weight_bytes, lambda: _let(loaded))
            yield loaded

    def _path(self, replica: Replica) -> tuple[str, ...]:
        if self._plan.source == "host":
            return self._topology.host_path(replica.index)
        path = self._topology.store_path(replica.index)
        limited = self._plan.store_bytes_per_second is not None
        return (_store(self._client), *path) if limited else path


def _let(event: Event) -> None:
    event.succeed()


def _store(client: str) -> str:
    return f"{client}/weights"


def store_links(clients: Sequence[ClientPlan]) -> tuple[Link, ...]:
    """Return the links of the stores that weights come from."""
    found = []
    for client in clients:
        plan = client.operations
        if plan is not None and plan.start_up.store_bytes_per_second is not None:
            found.append(Link(_store(client.name), plan.start_up.store_bytes_per_second or inf))
    return tuple(found)
