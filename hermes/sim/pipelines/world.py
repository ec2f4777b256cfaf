"""What the stages of a pipeline work with: time, the network, the draws, the log."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from itertools import count
from typing import Any

from hermes.scenario.units import seconds_to_ticks
from hermes.sim.clock import Clock
from hermes.sim.coordinator import Coordinator
from hermes.sim.network import FlowNetwork
from hermes.sim.pipelines.draws import Draws
from hermes.sim.pipelines.signal import Signal, Waitable
from hermes.sim.pipelines.walk import Stopped, Walk
from hermes.sim.topology import Topology
from hermes.workload import Workload

__all__ = ["Steps", "World"]

_MESSAGE_BYTES = 1 << 16
"""64 KiB take 1.3 us of a 400 Gbit/s port: what a text of 16,000 tokens loses by sharing."""

Steps = Generator[Waitable, Any, None]
"""A stage under way: yields what it waits for."""


class World:
    """Shared by all stages of all pipelines of one simulation.

    Args:
        env: The SimPy environment.
        coordinator: Makes sequences, keeps the log.
        network: What data flows over.
        topology: Paths between replicas and stations.
        workload: The requests.
        draws: Of the stages.
        difficulty: Difficulty class of each request; empty where they have none.
    """

    def __init__(
        self,
        env: Clock,
        coordinator: Coordinator,
        network: FlowNetwork,
        topology: Topology,
        workload: Workload,
        draws: Draws,
        difficulty: Sequence[str] = (),
    ) -> None:
        self.env = env
        self.coordinator = coordinator
        self.workload = workload
        self.draws = draws
        self._difficulty = difficulty
        self._network = network
        self._topology = topology
        self.reaches_all = topology.reach == "all"
        self._numbers = count(len(workload))
        self._unshared: dict[tuple[int, int], tuple[int, float]] = {}

    def difficulty(self, request: int) -> str:
        """Return a request's difficulty class; empty where requests have none."""
        return self._difficulty[request] if self._difficulty else ""

    def attribute(self, name: str, request: int) -> int:
        """Return what a column of the trace says of a request."""
        return int(self.workload.attributes[name][request])

    def number(self) -> int:
        """Return a number that no request, call or piece of a context has."""
        return next(self._numbers)

    def reaches(self, walk: Walk, place: int) -> bool:
        """Whether a walk's data could move to a place."""
        return place < 0 or walk.at < 0 or self._topology.reaches(walk.at, place)

    def move(self, walk: Walk, place: int, size_bytes: int) -> Steps:
        """Let a walk's data flow to a place; see `moved`."""
        there = self.moved(walk, place, size_bytes)
        if there is not None:
            yield there

    def moved(self, walk: Walk, place: int, size_bytes: int) -> Waitable | None:
        """Return what to wait for until a walk's data is at a place; None where it is.

        What comes from outside, or goes there, is there. A message that no link would notice takes
        the time it takes alone and shares nothing.
        """
        source = walk.at
        if source < 0 or place < 0 or source == place:
            return None
        if size_bytes <= _MESSAGE_BYTES:
            return self.env.timeout(self._alone(source, place, size_bytes))
        path = self._topology.path(source, place)
        arrived = Signal()
        self._network.transfer(path, size_bytes, arrived.give)
        return arrived

    def _alone(self, source: int, place: int, size_bytes: int) -> int:
        """Return the ticks of a transfer with nobody else about."""
        found = self._unshared.get((source, place))
        if found is None:
            path = self._topology.path(source, place)
            found = self._unshared[source, place] = self._network.unshared(path)
        latency, bytes_per_second = found
        return latency + seconds_to_ticks(size_bytes / bytes_per_second)

    def enter(self, walk: Walk) -> int:
        """Return the tick at which a walk enters a stage.

        Raises:
            Stopped: nobody waits for it any more.
        """
        if walk.parent is not None and walk.stopped:
            raise Stopped
        return self.env.now
