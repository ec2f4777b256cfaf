"""The running sequences in the order in which they would give way."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from hermes.sim.sequence import Sequence

__all__ = ["RunningList"]

_Entry = tuple[int, int, int, Sequence]
_SLACK = 64


class RunningList:
    """Finds the next victim in O(log n); entries of sequences that left die with their ticket.

    Without ranks the victim is the sequence admitted last. With ranks it is the one with the
    largest rank and arrival, and among equals the one admitted first, as in vLLM.

    Args:
        ranked: Whether sequences have ranks.
        tickets: Rising numbers, never the same twice in one engine.
    """

    __slots__ = ("_entries", "_ranked", "_tickets")

    def __init__(self, ranked: bool, tickets: Iterator[int]) -> None:
        self._ranked = ranked
        self._entries: list[_Entry] = []
        self._tickets = tickets

    def append(self, sequence: Sequence) -> None:
        """Add a sequence just admitted, and give it its ticket."""
        ticket = sequence.ticket = next(self._tickets)
        if self._ranked:
            rank, arrival, _ = sequence.rank
            heappush(self._entries, (-rank, -arrival, ticket, sequence))
        else:
            self._entries.append((0, 0, ticket, sequence))

    def pop_victim(self) -> Sequence:
        """Remove and return the sequence that must give way; there must be one."""
        while True:
            entry = heappop(self._entries) if self._ranked else self._entries.pop()
            if entry[3].ticket == entry[2]:
                return entry[3]

    def tidy(self, alive: int) -> None:
        """Drop dead entries when they outnumber the living."""
        if len(self._entries) > 2 * alive + _SLACK:
            self._entries = [entry for entry in self._entries if entry[3].ticket == entry[2]]
            if self._ranked:
                heapify(self._entries)

    def __iter__(self) -> Iterator[Sequence]:
        return (entry[3] for entry in self._entries if entry[3].ticket == entry[2])
