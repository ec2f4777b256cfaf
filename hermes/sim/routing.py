"""Routing: which of several replicas serves a request."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from hermes.sim.registry import Registry
from hermes.sim.replica import Replica

__all__ = ["ROUTING", "RoutingPolicy"]


class RoutingPolicy(ABC):
    """Chooses among replicas by what a router could know; never by a request's output length.

    Args:
        rng: A random stream of the router's own.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    @abstractmethod
    def choose(self, replicas: Sequence[Replica], now: int) -> Replica:
        """Return one of `replicas`, which are never none."""


ROUTING: Registry[type[RoutingPolicy]] = Registry("routing policy")
"""Routing policies by name."""


@ROUTING.register("round_robin")
class RoundRobin(RoutingPolicy):
    """Each replica in turn."""

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__(rng)
        self._next = 0

    def choose(self, replicas: Sequence[Replica], now: int) -> Replica:
        """Return the next replica; see `RoutingPolicy`."""
        del now
        self._next += 1
        return replicas[(self._next - 1) % len(replicas)]


@ROUTING.register("random")
class Random(RoutingPolicy):
    """Any replica, with equal chances."""

    def choose(self, replicas: Sequence[Replica], now: int) -> Replica:
        """Return a random replica; see `RoutingPolicy`."""
        del now
        return replicas[int(self._rng.integers(len(replicas)))]


@ROUTING.register("join_shortest_queue")
class JoinShortestQueue(RoutingPolicy):
    """The replica with the fewest requests queued or running; the first among equals."""

    def choose(self, replicas: Sequence[Replica], now: int) -> Replica:
        """Return the shortest queue; see `RoutingPolicy`."""
        del now
        return min(replicas, key=Replica.outstanding_requests)


@ROUTING.register("least_loaded")
class LeastLoaded(RoutingPolicy):
    """The replica with the fewest KV blocks used or needed by its queue; the first among equals."""

    def choose(self, replicas: Sequence[Replica], now: int) -> Replica:
        """Return the least loaded; see `RoutingPolicy`."""
        if len(replicas) == 1:
            return replicas[0]
        return min(replicas, key=lambda replica: replica.committed_blocks(now))


@ROUTING.register("power_of_two")
class PowerOfTwo(RoutingPolicy):
    """Of two random replicas, the one with fewer requests (Mitzenmacher 2001)."""

    def choose(self, replicas: Sequence[Replica], now: int) -> Replica:
        """Return the better of two; see `RoutingPolicy`."""
        del now
        if len(replicas) == 1:
            return replicas[0]
        first = int(self._rng.integers(len(replicas)))
        second = int(self._rng.integers(len(replicas) - 1))
        second += second >= first
        return min(replicas[first], replicas[second], key=Replica.outstanding_requests)
