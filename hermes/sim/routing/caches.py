"""What a router knows of which prefixes lie in which replica's cache."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Hashable, Sequence

from hermes.sim.replica import Replica
from hermes.sim.routing.request import RoutedRequest

__all__ = ["CacheView", "OwnRecords", "ReplicaCaches", "cache_view"]


class CacheView(ABC):
    """Says how much of a prompt a replica need not compute."""

    @abstractmethod
    def cached_tokens(
        self, replicas: Sequence[Replica], now: int, request: RoutedRequest
    ) -> list[int]:
        """Return the tokens of a prompt that each replica has cached, from its start."""

    @abstractmethod
    def sent(self, replica: Replica, request: RoutedRequest) -> None:
        """Hear where a request goes."""


class ReplicaCaches(CacheView):
    """The caches themselves, as engines tell by events of blocks stored and removed."""

    def cached_tokens(
        self, replicas: Sequence[Replica], now: int, request: RoutedRequest
    ) -> list[int]:
        """Return what lies in the caches at this tick; see `CacheView`."""
        keys = _KeysBySize(request)
        found = []
        for replica in replicas:
            size = replica.engine.limits.block_size
            found.append(replica.cached_blocks(keys.of(size), now) * size)
        return found

    def sent(self, replica: Replica, request: RoutedRequest) -> None:
        """Note nothing: the cache knows; see `CacheView`."""


class OwnRecords(CacheView):
    """What the router itself has sent where: an approximation that needs no word of a replica.

    It takes a prompt for cached as soon as it is sent, knows nothing of outputs and of what a
    replica evicts, and forgets the blocks of a replica that it has not sent for the longest time
    once it remembers more than the replica could hold.
    """

    def __init__(self) -> None:
        self._sent: dict[int, OrderedDict[Hashable, None]] = {}  # by replica: keys, oldest first

    def cached_tokens(
        self, replicas: Sequence[Replica], now: int, request: RoutedRequest
    ) -> list[int]:
        """Return what should lie in the caches; see `CacheView`."""
        del now
        keys = _KeysBySize(request)
        return [self._cached(replica, keys) for replica in replicas]

    def _cached(self, replica: Replica, keys: _KeysBySize) -> int:
        size, known = replica.engine.limits.block_size, self._sent.get(replica.index)
        if not known:
            return 0
        blocks = 0
        for key in keys.of(size):
            if key not in known:
                break
            blocks += 1
        return blocks * size

    def sent(self, replica: Replica, request: RoutedRequest) -> None:
        """Remember the blocks of a prompt; see `CacheView`."""
        limits = replica.engine.limits
        if not limits.enable_prefix_caching:
            return
        known = self._sent.setdefault(replica.index, OrderedDict())
        for key in reversed(request.prefix_keys(limits.block_size)):  # heads are forgotten last
            known[key] = None
            known.move_to_end(key)
        while len(known) > limits.num_blocks:
            known.popitem(last=False)


class _KeysBySize:
    """A request's keys, made once for each block size."""

    def __init__(self, request: RoutedRequest) -> None:
        self._request = request
        self._keys: dict[int, tuple[Hashable, ...]] = {}

    def of(self, block_size: int) -> tuple[Hashable, ...]:
        if block_size not in self._keys:
            self._keys[block_size] = self._request.prefix_keys(block_size)
        return self._keys[block_size]


def cache_view(kind: str | None, interval: int) -> CacheView:
    """Return a view: of the `replica`, or by the `router`'s own records.

    By default a router whose signals are old goes by its own records.
    """
    if kind is None:
        kind = "router" if interval else "replica"
    return ReplicaCaches() if kind == "replica" else OwnRecords()
