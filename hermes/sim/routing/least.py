"""Policies that send a request to where the load is least."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hermes.sim.replica import Replica
from hermes.sim.routing.base import ROUTING, RoutingPolicy
from hermes.sim.routing.load import Reading
from hermes.sim.routing.request import RoutedRequest

__all__ = [
    "FewestDecodes",
    "FewestPendingTokens",
    "JoinShortestQueue",
    "LeastLoaded",
    "Oracle",
    "PowerOfTwo",
]


@ROUTING.register("least_loaded")
class LeastLoaded(RoutingPolicy):
    """The replica with the fewest KV blocks used or needed by its queue, or by another signal.

    Args:
        rng: See `RoutingPolicy`.
        interval: See `RoutingPolicy`.
        signal: What counts as load; the first among equals is taken.
    """

    def __init__(
        self, rng: np.random.Generator, interval: int = 0, signal: str = "kv_blocks"
    ) -> None:
        super().__init__(rng, interval)
        self._lightest = self.load(signal).lightest

    def choose(self, replicas: Sequence[Replica], now: int, request: RoutedRequest) -> Replica:
        """Return the least loaded; see `RoutingPolicy`."""
        del request
        return self._lightest(replicas, now)


@ROUTING.register("join_shortest_queue")
class JoinShortestQueue(LeastLoaded):
    """The replica with the fewest requests queued or running; the first among equals."""

    def __init__(self, rng: np.random.Generator, interval: int = 0) -> None:
        super().__init__(rng, interval, "requests")


@ROUTING.register("fewest_pending_tokens")
class FewestPendingTokens(LeastLoaded):
    """The replica with the fewest prompt tokens to compute; among equals, the fewest requests."""

    def __init__(self, rng: np.random.Generator, interval: int = 0) -> None:
        super().__init__(rng, interval, "pending_tokens")


@ROUTING.register("fewest_decodes")
class FewestDecodes(LeastLoaded):
    """The replica where the fewest requests decode; among equals, the fewest requests."""

    def __init__(self, rng: np.random.Generator, interval: int = 0) -> None:
        super().__init__(rng, interval, "decodes")


@ROUTING.register("power_of_two")
class PowerOfTwo(RoutingPolicy):
    """Of two random replicas, the one with fewer requests, or less load (Mitzenmacher 2001).

    Args:
        rng: See `RoutingPolicy`.
        interval: See `RoutingPolicy`.
        signal: What counts as load.
    """

    def __init__(
        self, rng: np.random.Generator, interval: int = 0, signal: str = "requests"
    ) -> None:
        super().__init__(rng, interval)
        self._lightest = self.load(signal).lightest

    def choose(self, replicas: Sequence[Replica], now: int, request: RoutedRequest) -> Replica:
        """Return the better of two; see `RoutingPolicy`."""
        del request
        if len(replicas) == 1:
            return replicas[0]
        first = int(self._rng.integers(len(replicas)))
        second = int(self._rng.integers(len(replicas) - 1))
        second += second >= first
        return self._lightest((replicas[first], replicas[second]), now)


@ROUTING.register("oracle")
class Oracle(RoutingPolicy):
    """The replica with the fewest output tokens left to give, which no real router can know."""

    def __init__(self, rng: np.random.Generator, interval: int = 0) -> None:
        super().__init__(rng, interval)
        self._left = Reading(Replica.remaining_output_tokens, interval)

    def choose(self, replicas: Sequence[Replica], now: int, request: RoutedRequest) -> Replica:
        """Return the replica with the least to give; see `RoutingPolicy`."""
        del request
        return min(replicas, key=lambda replica: self._left.of(replica, now))
