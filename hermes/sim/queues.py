"""Queue orders: which waiting request is next, and which running one gives way.

Every order but `fcfs` ranks requests by a key. The smallest key is at the head of the queue, and
when KV blocks run out the running request with the largest key is preempted (vLLM's `priority`
policy). Under `fcfs` a preempted request returns to the head, and the one admitted last gives way.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Protocol

from hermes.sim.registry import Registry
from hermes.sim.sequence import Sequence

__all__ = ["QUEUE_ORDERS", "FirstComeFirstServed", "QueueOrder", "RankedQueue", "WaitingQueue"]


class WaitingQueue(Protocol):
    """Sequences that wait for admission."""

    @property
    def head(self) -> Sequence:
        """The next sequence; the queue must not be empty."""

    def __len__(self) -> int:
        """Return how many wait."""

    def __iter__(self) -> Iterator[Sequence]:
        """Iterate over those who wait, in order."""

    def push(self, sequence: Sequence, /) -> None:
        """Add a sequence that arrived."""

    def push_back(self, sequence: Sequence, /) -> None:
        """Add a sequence that was preempted."""

    def pop_head(self) -> Sequence:
        """Remove and return the head."""

    def remove(self, sequence: Sequence, /) -> None:
        """Remove a sequence from anywhere, in time that grows with those who wait."""


class FirstComeFirstServed(deque[Sequence]):
    """Order of arrival; preempted sequences return to the head."""

    push = deque.append
    push_back = deque.appendleft
    pop_head = deque.popleft

    @property
    def head(self) -> Sequence:
        """The next sequence; see `WaitingQueue`."""
        return self[0]


class RankedQueue:
    """Smallest rank first; arrival and request number settle what is equal."""

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        self._heap: list[tuple[tuple[int, ...], Sequence]] = []

    @property
    def head(self) -> Sequence:
        """The next sequence; see `WaitingQueue`."""
        return self._heap[0][1]

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[Sequence]:
        return (sequence for _, sequence in sorted(self._heap, key=lambda entry: entry[0]))

    def push(self, sequence: Sequence, /) -> None:
        """Add a sequence at its place."""
        heappush(self._heap, (sequence.rank, sequence))

    push_back = push

    def pop_head(self) -> Sequence:
        """Remove and return the head."""
        return heappop(self._heap)[1]

    def remove(self, sequence: Sequence, /) -> None:
        """Remove a sequence; see `WaitingQueue`."""
        self._heap = [entry for entry in self._heap if entry[1] is not sequence]
        heapify(self._heap)


class QueueOrder(ABC):
    """Ranks sequences; one instance serves one replica."""

    ranked: bool = True

    @abstractmethod
    def rank(self, sequence: Sequence) -> int:
        """Return the rank of a sequence when it joins the queue; the smallest goes first."""

    def queue(self) -> WaitingQueue:
        """Return an empty queue of this order."""
        return RankedQueue() if self.ranked else FirstComeFirstServed()


QUEUE_ORDERS: Registry[type[QueueOrder]] = Registry("queue order")
"""Queue orders by name."""


@QUEUE_ORDERS.register("fcfs")
class Fcfs(QueueOrder):
    """First come, first served; vLLM's default."""

    ranked = False

    def rank(self, sequence: Sequence) -> int:
        """Return nothing of use: arrival order needs no rank."""
        del sequence
        return 0


@QUEUE_ORDERS.register("priority")
class Priority(QueueOrder):
    """Smallest `priority` of the request first, then the earliest; vLLM's `priority` policy."""

    def rank(self, sequence: Sequence) -> int:
        """Return the request's priority; see `QueueOrder`."""
        return sequence.priority


@QUEUE_ORDERS.register("shortest_prompt")
class ShortestPrompt(QueueOrder):
    """Fewest prompt tokens first."""

    def rank(self, sequence: Sequence) -> int:
        """Return the prompt tokens; see `QueueOrder`."""
        return sequence.prompt_tokens


@QUEUE_ORDERS.register("least_work_left")
class LeastWorkLeft(QueueOrder):
    """Fewest tokens left to compute first; an oracle, for it knows how long outputs get."""

    def rank(self, sequence: Sequence) -> int:
        """Return the tokens left to compute; see `QueueOrder`."""
        return sequence.final_context - sequence.computed


@QUEUE_ORDERS.register("edf")
class EarliestDeadlineFirst(QueueOrder):
    """Earliest deadline first: arrival plus the time to first token that the SLO allows."""

    def rank(self, sequence: Sequence) -> int:
        """Return the deadline; see `QueueOrder`."""
        return sequence.deadline
