"""Stated recall: how much stored context each request has, where it lies, and who reaches it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from hermes.scenario.recall import HotHome, RecallSpec
from hermes.sim.replica import Replica
from hermes.sim.tiers.lookup import Recalled
from hermes.sim.tiers.plan import TierPlans, Way
from hermes.workload import draw_lengths
from hermes.workload.choices import choose
from hermes.workload.streams import stream

__all__ = ["Recall"]


class Recall:
    """Draws the stored context of a pipeline's requests.

    Args:
        spec: What is stated.
        replicas: Those that serve the stage.
        plans: Their ways to the tiers.
        count: Requests in the workload.
        seed: Seed and pipeline, for random streams of its own.
    """

    def __init__(
        self,
        spec: RecallSpec,
        replicas: tuple[Replica, ...],
        plans: TierPlans,
        count: int,
        seed: tuple[int, str],
    ) -> None:
        def draws(name: str) -> np.random.Generator:
            return stream(seed[0], "recall", seed[1], name)

        self._replicas = replicas
        self._ways = tuple(_fetched(plans, replica) for replica in replicas)
        self._tokens = draw_lengths(spec.tokens, count, draws("tokens")).tolist()
        self._homes = _homes(spec, len(replicas), count, draws)
        rates = spec.hit_rate if isinstance(spec.hit_rate, tuple) else (spec.hit_rate,)
        self._levels = _levels(rates, count, draws("hits"))
        self._reaching: dict[tuple[int, int], tuple[Replica, ...]] = {}

    def of(self, request: int) -> Recalled:
        """Return the stored context of a request."""
        level = self._levels[request]
        home = self._ways[self._homes[request]]
        return Recalled(self._tokens[request], level if 0 <= level < len(home) else None)

    def candidates(self, request: int) -> tuple[Replica, ...]:
        """Return the replicas that reach a request's context; all, where no tier holds it."""
        level = self.of(request).level
        if level is None:
            return self._replicas
        key = level, self._ways[self._homes[request]][level].instance
        if key not in self._reaching:
            self._reaching[key] = tuple(
                replica
                for replica, ways in zip(self._replicas, self._ways, strict=True)
                if len(ways) > level and ways[level].instance == key[1]
            )
        return self._reaching[key]


def _fetched(plans: TierPlans, replica: Replica) -> tuple[Way, ...]:
    """Return the ways over which a replica fetches."""
    use = plans.uses[replica.index]
    return () if use is None or use.fetch == "never" else plans.ways[replica.index]


def _homes(
    spec: RecallSpec, replicas: int, count: int, draws: Callable[[str], np.random.Generator]
) -> list[int]:
    uniform = draws("home").random(count)
    if not isinstance(spec.home, HotHome):
        return list(map(int, np.floor(uniform * replicas)))
    hot = spec.home.hot
    centres = draws("centres").integers(replicas, size=hot.centres).tolist()
    weights = [
        math.fsum(math.exp(-((at - centre) ** 2) / (2 * hot.sigma**2)) for centre in centres)
        for at in range(replicas)
    ]
    return list(map(int, choose(weights, uniform)))


def _levels(rates: tuple[float, ...], count: int, rng: np.random.Generator) -> list[int]:
    """Return the first tier that holds each request's context; -1 where none does."""
    drawn = rng.random((count, len(rates))) < np.array(rates)
    missed = np.logical_not(drawn.any(axis=1))
    return list(map(int, np.where(missed, -1, drawn.argmax(axis=1))))
