"""Eviction: which block leaves a full tier."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Hashable

from hermes.sim.registry import Registry

__all__ = ["EVICTION", "EvictionPolicy", "Lru", "S3Fifo"]


class EvictionPolicy(ABC):
    """Orders the blocks of one tier instance.

    Args:
        capacity: Bytes that the instance holds; 0: without limit, and nobody is ever evicted.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity

    @abstractmethod
    def enter(self, key: Hashable, size: int) -> None:
        """Take a block in that is not there."""

    @abstractmethod
    def touch(self, key: Hashable) -> None:
        """Note that a block that is there was asked for."""

    @abstractmethod
    def victim(self) -> Hashable:
        """Give up a block and return its key; there is at least one."""


EVICTION: Registry[type[EvictionPolicy]] = Registry("eviction policy")
"""Eviction policies by name."""


@EVICTION.register("lru")
class Lru(EvictionPolicy):
    """The block that nobody has asked for the longest."""

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self._order: OrderedDict[Hashable, None] = OrderedDict()

    def enter(self, key: Hashable, size: int) -> None:
        """Take a block in; see `EvictionPolicy`."""
        del size
        self._order[key] = None

    def touch(self, key: Hashable) -> None:
        """Make a block the most recent; see `EvictionPolicy`."""
        self._order.move_to_end(key)

    def victim(self) -> Hashable:
        """Return the least recent; see `EvictionPolicy`."""
        return self._order.popitem(last=False)[0]


_SMALL_SHARE = 0.1
_MOST_USES = 3


class _Entry:
    __slots__ = ("size", "uses")

    def __init__(self, size: int) -> None:
        self.size = size
        self.uses = 0


@EVICTION.register("s3fifo")
class S3Fifo(EvictionPolicy):
    """Blocks asked for once leave soon, others by how often they were asked for (S3-FIFO).

    Three queues, first in first out: newcomers pass a small one of a tenth of the bytes and only
    go on to the main one if they were asked for again, more than once; keys of those that were not
    are remembered, and return to the main one at once. Yang, Zhang, Qiu, Yue, Rashmi: FIFO queues
    are all you need for cache eviction, SOSP 2023. Sizes count in bytes.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self._small: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._main: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._ghosts: OrderedDict[Hashable, int] = OrderedDict()
        self._small_bytes = self._ghost_bytes = 0
        self._small_target = int(capacity * _SMALL_SHARE)

    def enter(self, key: Hashable, size: int) -> None:
        """Take a block in; see `EvictionPolicy`."""
        remembered = self._ghosts.pop(key, None)
        if remembered is None:
            self._small[key] = _Entry(size)
            self._small_bytes += size
        else:
            self._ghost_bytes -= remembered
            self._main[key] = _Entry(size)

    def touch(self, key: Hashable) -> None:
        """Count a use; see `EvictionPolicy`."""
        entry = self._small.get(key) or self._main[key]
        entry.uses = min(_MOST_USES, entry.uses + 1)

    def victim(self) -> Hashable:
        """Return a block of the small queue while that is over its share; see `EvictionPolicy`."""
        while True:
            if self._small and (self._small_bytes >= self._small_target or not self._main):
                key, entry = self._small.popitem(last=False)
                self._small_bytes -= entry.size
                if entry.uses <= 1:
                    self._remember(key, entry.size)
                    return key
                entry.uses = 0
                self._main[key] = entry
            else:
                key, entry = self._main.popitem(last=False)
                if entry.uses == 0:
                    return key
                entry.uses -= 1
                self._main[key] = entry

    def _remember(self, key: Hashable, size: int) -> None:
        self._ghosts[key] = size
        self._ghost_bytes += size
        while self._ghost_bytes > self.capacity - self._small_target:
            self._ghost_bytes -= self._ghosts.popitem(last=False)[1]
