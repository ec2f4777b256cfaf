"""What a routing policy is, and the names of all there are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from hermes.sim.registry import Registry
from hermes.sim.replica import Replica
from hermes.sim.routing.load import LoadView, load_view
from hermes.sim.routing.request import RoutedRequest

__all__ = ["ROUTING", "RoutingPolicy"]


class RoutingPolicy(ABC):
    """Chooses among replicas by what a router could know.

    Only a policy that calls itself an oracle may look at a request's output tokens. What a replica
    shows (`Replica.committed_blocks` and its like) is the same however its steps are grouped into
    events; nothing else of it may decide.

    Args:
        rng: A random stream of the router's own.
        interval: Ticks for which the router believes what it has read of a replica's load; 0: it
            reads anew for each request.
    """

    def __init__(self, rng: np.random.Generator, interval: int = 0) -> None:
        self._rng = rng
        self._interval = interval

    def load(self, signal: str) -> LoadView:
        """Return the replicas' load by the name of a signal, as fresh as this router sees it."""
        return load_view(signal, self._interval)

    @abstractmethod
    def choose(self, replicas: Sequence[Replica], now: int, request: RoutedRequest) -> Replica:
        """Return one of `replicas`, which are never none, for a request that comes at `now`."""


ROUTING: Registry[type[RoutingPolicy]] = Registry("routing policy")
"""Routing policies by name."""
