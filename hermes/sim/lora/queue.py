"""Who may run together: at most `max_loras` adapters among the running sequences.

Follows vLLM's v1 scheduler (0.33): a waiting request whose adapter would be one too many is passed
over, and those behind it go on; it keeps its place. Requests of the base model always fit.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from hermes.sim.sequence import Sequence

__all__ = ["AdapterQueue", "RunningAdapters"]

_Key = tuple[int, ...]
_Entry = tuple[_Key, int, Sequence]  # key, when it was added, who
_SLACK = 64


class RunningAdapters:
    """The adapters of the running sequences; those who left are known by their tickets.

    Args:
        max_loras: Most adapters at once.
        max_num_seqs: Most sequences at once.
    """

    __slots__ = ("_max_loras", "_most", "_users")

    def __init__(self, max_loras: int, max_num_seqs: int) -> None:
        self._max_loras = max_loras
        self._most = 2 * max_num_seqs + _SLACK
        self._users: dict[int, list[tuple[int, Sequence]]] = {}

    def add(self, sequence: Sequence) -> None:
        """Count a sequence that was just admitted."""
        if sequence.adapter < 0:
            return
        users = self._users.setdefault(sequence.adapter, [])
        users.append((sequence.ticket, sequence))
        if len(users) > self._most:
            users[:] = [entry for entry in users if entry[1].ticket == entry[0]]

    def adapters(self) -> list[int]:
        """Return the adapters in use, in the order in which they came into use."""
        for adapter in list(self._users):
            users = self._users[adapter]
            while users and users[-1][1].ticket != users[-1][0]:
                users.pop()
            if not users:
                del self._users[adapter]
        return list(self._users)

    def barred(self) -> list[int] | None:
        """Return the only adapters that may be added to, or None while others fit."""
        adapters = self.adapters()
        return adapters if len(adapters) >= self._max_loras else None


class _Heap:
    """Entries in order; those that were removed from the queue die there.

    Args:
        alive: When each request that waits was added.
    """

    __slots__ = ("_alive", "_entries")

    def __init__(self, alive: dict[int, int]) -> None:
        self._alive = alive
        self._entries: list[_Entry] = []

    def __len__(self) -> int:
        return len(self._entries)

    def push(self, entry: _Entry) -> None:
        heappush(self._entries, entry)

    def first(self) -> _Entry | None:
        entries = self._entries
        while entries and not self._lives(entries[0]):
            heappop(entries)
        return entries[0] if entries else None

    def living(self) -> list[_Entry]:
        return sorted(entry for entry in self._entries if self._lives(entry))

    def tidy(self) -> None:
        """Drop the dead when they outnumber the living."""
        if len(self._entries) > 2 * len(self._alive) + _SLACK:
            self._entries = [entry for entry in self._entries if self._lives(entry)]
            heapify(self._entries)

    def _lives(self, entry: _Entry) -> bool:
        return self._alive.get(entry[2].request_id) == entry[1]


class AdapterQueue:
    """A queue whose head is the first sequence whose adapter fits; see `WaitingQueue`.

    Where none fits, the head is the first of all, and `fits` says so.

    Args:
        ranked: Whether sequences have ranks; else the first to come is the first.
        running: Knows which adapters fit.
    """

    __slots__ = ("_alive", "_all", "_by_adapter", "_ranked", "_running", "_serial")

    def __init__(self, ranked: bool, running: RunningAdapters) -> None:
        self._ranked = ranked
        self._running = running
        self._alive: dict[int, int] = {}
        self._all = _Heap(self._alive)
        self._by_adapter: dict[int, _Heap] = {}
        self._serial = 0

    @property
    def fits(self) -> bool:
        """Whether the adapter of any that waits may run now."""
        return self._fitting() is not None

    @property
    def head(self) -> Sequence:
        """The first that fits, or else the first of all; the queue must not be empty."""
        entry = self._fitting() or self._all.first()
        if entry is None:
            raise IndexError("nobody waits")
        return entry[2]

    def __len__(self) -> int:
        return len(self._alive)

    def __iter__(self) -> Iterator[Sequence]:
        return (entry[2] for entry in self._all.living())

    def adapters(self) -> list[int]:
        """Return the adapters of those who wait."""
        return [adapter for adapter in self._by_adapter if adapter >= 0]

    def push(self, sequence: Sequence, /) -> None:
        """Add a sequence that arrived."""
        self._serial += 1
        self._add(sequence, self._serial)

    def push_back(self, sequence: Sequence, /) -> None:
        """Add a sequence that was preempted: first of all, unless it has a rank."""
        self._serial += 1
        self._add(sequence, -self._serial)

    def pop_head(self) -> Sequence:
        """Remove and return the head."""
        sequence = self.head
        self.remove(sequence)
        return sequence

    def remove(self, sequence: Sequence, /) -> None:
        """Remove a sequence from anywhere."""
        if sequence.request_id not in self._alive:
            raise ValueError(f"{sequence} does not wait")
        del self._alive[sequence.request_id]
        if self._by_adapter[sequence.adapter].first() is None:
            del self._by_adapter[sequence.adapter]
        self._all.tidy()

    def _add(self, sequence: Sequence, place: int) -> None:
        entry = (sequence.rank if self._ranked else (place,), self._serial, sequence)
        self._alive[sequence.request_id] = self._serial
        self._all.push(entry)
        heap = self._by_adapter.get(sequence.adapter)
        if heap is None:
            heap = self._by_adapter[sequence.adapter] = _Heap(self._alive)
        heap.push(entry)
        heap.tidy()

    def _fitting(self) -> _Entry | None:
        only = self._running.barred()
        if only is None:
            return self._all.first()
        heaps = [self._by_adapter[a] for a in (-1, *only) if a in self._by_adapter]
        entries = [entry for heap in heaps if (entry := heap.first()) is not None]
        return min(entries, default=None)
