"""Policies that look at no replica."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hermes.sim.replica import Replica
from hermes.sim.routing.base import ROUTING, RoutingPolicy
from hermes.sim.routing.request import RoutedRequest

__all__ = ["Random", "RoundRobin"]


@ROUTING.register("round_robin")
class RoundRobin(RoutingPolicy):
    """Each replica in turn."""

    def __init__(self, rng: np.random.Generator, interval: int = 0) -> None:
        super().__init__(rng, interval)
        self._next = 0

    def choose(self, replicas: Sequence[Replica], now: int, request: RoutedRequest) -> Replica:
        """Return the next replica; see `RoutingPolicy`."""
        del now, request
        self._next += 1
        return replicas[(self._next - 1) % len(replicas)]


@ROUTING.register("random")
class Random(RoutingPolicy):
    """Any replica, with equal chances."""

    def choose(self, replicas: Sequence[Replica], now: int, request: RoutedRequest) -> Replica:
        """Return a random replica; see `RoutingPolicy`."""
        del now, request
        return replicas[int(self._rng.integers(len(replicas)))]
