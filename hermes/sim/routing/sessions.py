"""Policies under which what belongs together stays together."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Hashable, Sequence
from hashlib import sha256

import numpy as np

from hermes.sim.replica import Replica
from hermes.sim.routing.affinity import unbalanced
from hermes.sim.routing.base import ROUTING, RoutingPolicy
from hermes.sim.routing.request import RoutedRequest

__all__ = ["ConsistentHash", "SessionSticky"]

_MASK = (1 << 64) - 1


@ROUTING.register("session_sticky")
class SessionSticky(RoutingPolicy):
    """A session returns to its replica unless that is overloaded; other requests go by load.

    A session that finds its replica overloaded, or gone, moves to the one with the least load.

    Args:
        rng: See `RoutingPolicy`.
        interval: See `RoutingPolicy`.
        balance_abs_threshold: Requests that a session's replica may have more than the idlest.
        balance_rel_threshold: Times as many that it may have as well.
        signal: What counts as load for a request without a replica.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        interval: int = 0,
        balance_abs_threshold: int = 64,
        balance_rel_threshold: float = 1.5,
        signal: str = "kv_blocks",
    ) -> None:
        super().__init__(rng, interval)
        self._difference, self._ratio = balance_abs_threshold, balance_rel_threshold
        self._requests = self.load("requests")
        self._lightest = self.load(signal).lightest
        self._home: dict[int, int] = {}  # replica by session

    def choose(self, replicas: Sequence[Replica], now: int, request: RoutedRequest) -> Replica:
        """Return the session's replica, or the least loaded; see `RoutingPolicy`."""
        session = request.session
        if session < 0:
            return self._lightest(replicas, now)
        home = self._home.get(session)
        for replica in replicas:
            if replica.index == home and not self._overloaded(replica, replicas, now):
                return replica
        chosen = self._lightest(replicas, now)
        self._home[session] = chosen.index
        return chosen

    def _overloaded(self, replica: Replica, replicas: Sequence[Replica], now: int) -> bool:
        idlest = self._requests.lightest(replicas, now)
        pair = (replica, idlest)
        return unbalanced(self._requests, pair, now, self._difference, self._ratio)


@ROUTING.register("consistent_hash")
class ConsistentHash(RoutingPolicy):
    """By a hash of the session or the prefix, with bounded load (Mirrokni et al. 2018).

    Replicas and keys lie on a ring; a key belongs to the next replica on it. So a key stays where
    it is when other replicas come or go. A replica with more than its share of the load is passed
    over, and the next on the ring takes the request.

    Args:
        rng: See `RoutingPolicy`.
        interval: See `RoutingPolicy`.
        key: `session`, or `prefix`: the head of the prompt; requests without one are spread.
        prefix_tokens: Tokens of the head that counts, rounded down to KV blocks but at least one.
        load_factor: Requests a replica may have, in terms of the mean; None: no bound.
        virtual_nodes: Places of each replica on the ring.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        interval: int = 0,
        key: str = "session",
        prefix_tokens: int = 256,
        load_factor: float | None = 1.25,
        virtual_nodes: int = 128,
    ) -> None:
        super().__init__(rng, interval)
        self._key = key
        self._prefix_tokens = prefix_tokens
        self._load_factor = load_factor
        self._virtual_nodes = virtual_nodes
        self._requests = self.load("requests")
        self._rings: dict[tuple[int, ...], list[tuple[int, int]]] = {}  # (place, position)

    def choose(self, replicas: Sequence[Replica], now: int, request: RoutedRequest) -> Replica:
        """Return the next replica on the ring that may take more; see `RoutingPolicy`."""
        ring = self._ring(replicas)
        place = bisect_left(ring, (self._place(replicas[0], request), 0))
        if self._load_factor is None:
            return replicas[ring[place % len(ring)][1]]
        counts = [self._requests.of(replica, now)[0] for replica in replicas]
        most = math.ceil(self._load_factor * (sum(counts) + 1) / len(replicas))
        while counts[ring[place % len(ring)][1]] >= most:
            place += 1
        return replicas[ring[place % len(ring)][1]]

    def _ring(self, replicas: Sequence[Replica]) -> list[tuple[int, int]]:
        members = tuple(replica.index for replica in replicas)
        if members not in self._rings:
            self._rings[members] = sorted(
                (_scatter(_scatter(index) + node), position)
                for position, index in enumerate(members)
                for node in range(self._virtual_nodes)
            )
        return self._rings[members]

    def _place(self, replica: Replica, request: RoutedRequest) -> int:
        if self._key == "session":
            if request.session >= 0:
                return _scatter(request.session)
        else:
            size = replica.engine.limits.block_size
            keys = request.prefix_keys(size)[: max(1, self._prefix_tokens // size)]
            if keys:
                return _scatter(_number(keys[-1]))  # which stands for all before it
        return _scatter(~request.number & _MASK)


def _number(key: Hashable) -> int:
    """Return a number for a block's key, the same everywhere."""
    if isinstance(key, int):
        return key & _MASK
    return int.from_bytes(sha256(repr(key).encode()).digest()[:8], "big")


def _scatter(number: int) -> int:
    """Return 64 bits that look random (splitmix64), the same everywhere and always."""
    mixed = (number + 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return mixed ^ (mixed >> 31)
