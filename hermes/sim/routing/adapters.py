"""A policy that sends a request to where its LoRA adapter is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hermes.sim.lora.memory import AdapterSight
from hermes.sim.replica import Replica
from hermes.sim.routing.affinity import unbalanced
from hermes.sim.routing.base import ROUTING, RoutingPolicy
from hermes.sim.routing.load import Reading
from hermes.sim.routing.request import RoutedRequest

__all__ = ["AdapterAffinity"]


@ROUTING.register("adapter_affinity")
class AdapterAffinity(RoutingPolicy):
    """Where the request's LoRA adapter is, unless the load is out of balance; see docs/routing.md.

    As the LoRA affinity of the Kubernetes gateway for inference: best is a replica that has the
    adapter in a slot, then one whose running and waiting requests leave a slot, then one where
    requests already wait for the adapter. Among equals the load decides, and for requests of the
    base model.

    Args:
        rng: See `RoutingPolicy`.
        interval: See `RoutingPolicy`.
        balance_abs_threshold: Requests by which the load may differ.
        balance_rel_threshold: Times by which it may differ as well.
        signal: What counts as load among equals.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        interval: int = 0,
        balance_abs_threshold: int = 64,
        balance_rel_threshold: float = 1.5,
        signal: str = "requests",
    ) -> None:
        super().__init__(rng, interval)
        self._difference, self._ratio = balance_abs_threshold, balance_rel_threshold
        self._requests = self.load("requests")
        self._load = self.load(signal)
        self._sights = Reading(_sight, interval)

    def choose(self, replicas: Sequence[Replica], now: int, request: RoutedRequest) -> Replica:
        """Return the replica with the adapter, or with the least load; see `RoutingPolicy`."""
        if request.adapter < 0:
            return self._load.lightest(replicas, now)
        if unbalanced(self._requests, replicas, now, self._difference, self._ratio):
            return self._requests.lightest(replicas, now)
        grades = [_grade(self._sights.of(r, now), request.adapter) for r in replicas]
        best = max(grades)
        replicas = [r for r, grade in zip(replicas, grades, strict=True) if grade == best]
        return self._load.lightest(replicas, now)


def _sight(replica: Replica, now: int) -> AdapterSight | None:
    del now
    return replica.adapter_sight()


def _grade(sight: AdapterSight | None, adapter: int) -> int:
    """Return how well a replica suits an adapter; more is better."""
    if sight is None:
        return 0
    if adapter in sight.resident:
        return 3
    if len(sight.busy) < sight.slots:
        return 2
    return int(adapter in sight.waiting)
