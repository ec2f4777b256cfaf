"""The load of replicas as a router sees it: at once, or as of a while ago.

A router that polls its replicas believes what it read until it reads again. Here it reads a replica
when it has a request to place and what it knows of that replica is `interval` old or older. So no
event is made, and what is read does not depend on how the replica's steps are grouped. Between two
readings the router does not add what it sends itself, so it sends all requests of an interval the
same way: the herding that real routers with slow signals show.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from hermes.sim.replica import Replica
from hermes.sim.routing.signals import SIGNALS, Load

__all__ = ["LoadView", "Reading", "load_view"]

T = TypeVar("T")


class Reading(Generic[T]):
    """A fact about each replica, believed for a while.

    Args:
        read: Returns the fact, for a replica at a tick.
        interval: Ticks for which it is believed; 0: it is read every time.
    """

    def __init__(self, read: Callable[[Replica, int], T], interval: int) -> None:
        self._read = read
        self._interval = interval
        self._known: dict[int, tuple[int, T]] = {}  # by replica: when it was read, and what

    def of(self, replica: Replica, now: int) -> T:
        """Return what the router believes of a replica."""
        if not self._interval:
            return self._read(replica, now)
        known = self._known.get(replica.index)
        if known is None or now - known[0] >= self._interval:
            known = self._known[replica.index] = (now, self._read(replica, now))
        return known[1]


class LoadView(ABC):
    """Compares replicas by one signal."""

    @abstractmethod
    def of(self, replica: Replica, now: int) -> Load:
        """Return a replica's load; loads compare, and less is less."""

    def lightest(self, replicas: Sequence[Replica], now: int) -> Replica:
        """Return the replica with the least load; the first among equals."""
        return min(replicas, key=lambda replica: self.of(replica, now))


class _Read(LoadView):
    def __init__(self, read: Callable[[Replica, int], Load], interval: int) -> None:
        self._reading = Reading(read, interval)

    def of(self, replica: Replica, now: int) -> Load:
        return self._reading.of(replica, now)


class _FreshBlocks(LoadView):
    """KV blocks, looked at closely only where a bound that costs little does not decide."""

    def of(self, replica: Replica, now: int) -> Load:
        return replica.committed_blocks(now), 0

    def lightest(self, replicas: Sequence[Replica], now: int) -> Replica:
        floors = [(replica.least_committed_blocks(), i) for i, replica in enumerate(replicas)]
        floors.sort()
        floor, first = floors[0]
        best = (replicas[first].committed_blocks(now), first)
        for floor, i in floors[1:]:
            if floor > best[0]:
                break
            best = min(best, (replicas[i].committed_blocks(now), i))
        return replicas[best[1]]


def load_view(signal: str, interval: int) -> LoadView:
    """Return the view of a signal that is believed for `interval` ticks."""
    if signal == "kv_blocks" and not interval:
        return _FreshBlocks()
    return _Read(SIGNALS[signal], interval)
