"""Policies that send a request to where its prefix is cached, and mind the load."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hermes.sim.replica import Replica
from hermes.sim.routing.base import ROUTING, RoutingPolicy
from hermes.sim.routing.caches import cache_view
from hermes.sim.routing.load import LoadView
from hermes.sim.routing.request import RoutedRequest

__all__ = ["KvOverlap", "PrefixAffinity", "WeightedScores", "unbalanced"]


def unbalanced(
    load: LoadView, replicas: Sequence[Replica], now: int, difference: int, ratio: float
) -> bool:
    """Whether the busiest replica has so many requests more, and so many times more, than another.

    Args:
        load: Counts the requests.
        replicas: The replicas.
        now: The tick.
        difference: Requests that the busiest may have more than the idlest.
        ratio: Times as many that it may have.
    """
    counts = [load.of(replica, now)[0] for replica in replicas]
    most, fewest = max(counts), min(counts)
    return most - fewest > difference and most > ratio * fewest


@ROUTING.register("prefix_affinity")
class PrefixAffinity(RoutingPolicy):
    """Where the longest prefix is cached, unless the load is out of balance; see docs/routing.md.

    As `cache_aware` in the routers of SGLang and vLLM: when the load is out of balance, the fewest
    requests decide. Otherwise the replica with the longest cached prefix is taken, if that is a
    large enough share of the prompt, and else the one with the least load.

    Args:
        rng: See `RoutingPolicy`.
        interval: See `RoutingPolicy`.
        cache_threshold: Share of a prompt that must be cached to decide.
        balance_abs_threshold: Requests by which the load may differ.
        balance_rel_threshold: Times by which it may differ as well.
        signal: What counts as load where no prefix decides, and among equal prefixes.
        cache: Whose word counts for what is cached; see `cache_view`.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        interval: int = 0,
        cache_threshold: float = 0.3,
        balance_abs_threshold: int = 64,
        balance_rel_threshold: float = 1.5,
        signal: str = "requests",
        cache: str | None = None,
    ) -> None:
        super().__init__(rng, interval)
        self._threshold = cache_threshold
        self._difference, self._ratio = balance_abs_threshold, balance_rel_threshold
        self._requests = self.load("requests")
        self._load = self.load(signal)
        self._caches = cache_view(cache, interval)

    def choose(self, replicas: Sequence[Replica], now: int, request: RoutedRequest) -> Replica:
        """Return the replica with the prefix, or with the least load; see `RoutingPolicy`."""
        chosen = self._chosen(replicas, now, request)
        self._caches.sent(chosen, request)
        return chosen

    def _chosen(self, replicas: Sequence[Replica], now: int, request: RoutedRequest) -> Replica:
        if unbalanced(self._requests, replicas, now, self._difference, self._ratio):
            return self._requests.lightest(replicas, now)
        cached = self._caches.cached_tokens(replicas, now, request)
        longest = max(cached)
        if longest and longest > self._threshold * request.prompt_tokens:
            replicas = [r for r, tokens in zip(replicas, cached, strict=True) if tokens == longest]
        return self._load.lightest(replicas, now)


@ROUTING.register("kv_overlap")
class KvOverlap(RoutingPolicy):
    """The least sum of prompt blocks to compute and KV blocks in use, as NVIDIA Dynamo's router.

    The cost of a replica is `overlap_weight` times the prompt blocks it would have to compute, with
    those it has yet to compute for others, plus the KV blocks it uses.

    Args:
        rng: See `RoutingPolicy`.
        interval: See `RoutingPolicy`.
        overlap_weight: What a prompt block to compute counts; 0: only the load decides.
        cache: Whose word counts for what is cached; see `cache_view`.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        interval: int = 0,
        overlap_weight: float = 1.0,
        cache: str | None = None,
    ) -> None:
        super().__init__(rng, interval)
        self._weight = overlap_weight
        self._pending = self.load("pending_tokens")
        self._blocks = self.load("kv_blocks")
        self._caches = cache_view(cache, interval)

    def choose(self, replicas: Sequence[Replica], now: int, request: RoutedRequest) -> Replica:
        """Return the replica with the least cost; see `RoutingPolicy`."""
        cached = self._caches.cached_tokens(replicas, now, request)
        costs = [
            self._weight
            * (request.prompt_tokens - tokens + self._pending.of(replica, now)[0])
            / replica.engine.limits.block_size
            + self._blocks.of(replica, now)[0]
            for replica, tokens in zip(replicas, cached, strict=True)
        ]
        chosen = replicas[costs.index(min(costs))]
        self._caches.sent(chosen, request)
        return chosen


@ROUTING.register("weighted_scores")
class WeightedScores(RoutingPolicy):
    """The highest weighted sum of cached prefix, short queue and free KV cache, as llm-d's router.

    Each score is between 0 and 1: the share of the prompt that is cached; how few requests wait,
    from the most (0) to the fewest (1) of all replicas; the share of KV blocks not in use.

    Args:
        rng: See `RoutingPolicy`.
        interval: See `RoutingPolicy`.
        prefix: Weight of the cached prefix.
        queue: Weight of the queue.
        kv_cache: Weight of the free KV cache.
        cache: Whose word counts for what is cached; see `cache_view`.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        interval: int = 0,
        prefix: float = 3.0,
        queue: float = 2.0,
        kv_cache: float = 2.0,
        cache: str | None = None,
    ) -> None:
        super().__init__(rng, interval)
        self._weights = prefix, queue, kv_cache
        self._waiting = self.load("waiting")
        self._blocks = self.load("used_blocks")
        self._caches = cache_view(cache, interval)

    def choose(self, replicas: Sequence[Replica], now: int, request: RoutedRequest) -> Replica:
        """Return the replica with the highest score; see `RoutingPolicy`."""
        cached = self._caches.cached_tokens(replicas, now, request)
        waiting = [self._waiting.of(replica, now)[0] for replica in replicas]
        most, fewest = max(waiting), min(waiting)
        by_prefix, by_queue, by_cache = self._weights
        scores = [
            by_prefix * tokens / request.prompt_tokens
            + by_queue * ((most - queued) / (most - fewest) if most > fewest else 1.0)
            + by_cache * (1 - self._blocks.of(replica, now)[0] / replica.engine.limits.num_blocks)
            for replica, tokens, queued in zip(replicas, cached, waiting, strict=True)
        ]
        chosen = replicas[scores.index(max(scores))]
        self._caches.sent(chosen, request)
        return chosen
