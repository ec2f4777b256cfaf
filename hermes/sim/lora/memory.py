"""Where the adapters of a replica lie: in its slots, in host memory, or in neither.

Both are filled as adapters are needed, and give up the one that was not used for the longest time,
as vLLM's worker does. What is in the slots is in host memory too.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["AdapterMemory", "AdapterSight", "Loads"]


class Loads(NamedTuple):
    """Adapters that a step had to wait for: copied to the devices, and of those, from the store."""

    to_device: int
    from_store: int


@dataclass(frozen=True, slots=True)
class AdapterSight:
    """What a router sees of a replica's adapters.

    Attributes:
        resident: Those in the slots.
        busy: Those that running and waiting requests use.
        waiting: Those that waiting requests use.
        slots: How many slots there are.
    """

    resident: frozenset[int]
    busy: frozenset[int]
    waiting: frozenset[int]
    slots: int


class AdapterMemory:
    """The adapters in the slots and in host memory, least recently used first.

    Args:
        max_loras: Slots.
        max_cpu_loras: Most in host memory; at least as many.
    """

    __slots__ = ("_host", "_max_cpu_loras", "_max_loras", "_slots", "loads", "store_loads")

    def __init__(self, max_loras: int, max_cpu_loras: int) -> None:
        self._max_loras = max_loras
        self._max_cpu_loras = max_cpu_loras
        self._slots: OrderedDict[int, None] = OrderedDict()
        self._host: OrderedDict[int, None] = OrderedDict()
        self.loads = 0
        self.store_loads = 0

    @property
    def resident(self) -> Iterable[int]:
        """The adapters in the slots."""
        return self._slots.keys()

    def use(self, adapters: Sequence[int]) -> Loads:
        """Bring the adapters of a step, no more than there are slots; return what had to come.

        Those in the slots are used first, then those in host memory, so that none goes that the
        step needs. Using the same again changes nothing.
        """
        missing = []
        for adapter in adapters:
            if adapter in self._slots:
                self._slots.move_to_end(adapter)
                self._host.move_to_end(adapter)
            else:
                missing.append(adapter)
        if not missing:
            return Loads(0, 0)
        stored = [adapter for adapter in missing if adapter not in self._host]
        at_hand = [adapter for adapter in missing if adapter in self._host]
        for adapter in (*at_hand, *stored):
            self._host[adapter] = self._slots[adapter] = None
            self._host.move_to_end(adapter)
            if len(self._slots) > self._max_loras:
                self._slots.popitem(last=False)
            if len(self._host) > self._max_cpu_loras:
                self._host.popitem(last=False)
        self.loads += len(missing)
        self.store_loads += len(stored)
        return Loads(len(missing), len(stored))

    def forget(self) -> None:
        """Lose all adapters."""
        self._slots.clear()
        self._host.clear()
