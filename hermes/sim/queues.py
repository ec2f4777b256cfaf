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

__all__ = [
    "QUEUE_ORDERS",
    "FairQueue",
    "FirstComeFirstServed",
    "QueueOrder",
    "RankedQueue",
    "WaitingQueue",
]

_OUTPUT_WEIGHT = 2  # of an output token, where a prompt token counts 1


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


class FairQueue:
    """Whoever has had the least service goes first: the virtual token counter.

    Sheng et al., Fairness in Serving Large Language Models (OSDI 2024), algorithm 2. Each tenant
    has a counter of the tokens it was served, divided by its share; the next request is the oldest
    of the tenant with the smallest counter. A tenant that comes back is not paid for its absence:
    its counter is lifted to the smallest of those who wait, or to that of the last who left. Here a
    request is charged in full when it is admitted, prompt tokens once and output tokens twice, as
    the paper weighs them; so the counters know how long outputs get, the paper's oracle.
    """

    __slots__ = ("_counters", "_last", "_returned", "_waiting")

    def __init__(self) -> None:
        self._waiting: dict[int, deque[Sequence]] = {}  # by tenant; none is empty
        self._counters: dict[int, float] = {}
        self._returned: dict[int, None] = {}  # requests that were charged and wait again
        self._last = 0.0  # the counter of the tenant that left last

    @property
    def head(self) -> Sequence:
        """The next sequence; see `WaitingQueue`."""
        return self._waiting[self._next()][0]

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._waiting.values())

    def __iter__(self) -> Iterator[Sequence]:
        ranked = sorted(self._waiting, key=lambda tenant: (self._counters[tenant], tenant))
        return (sequence for tenant in ranked for sequence in self._waiting[tenant])

    def push(self, sequence: Sequence, /) -> None:
        """Add a sequence that arrived."""
        self._queue_of(sequence).append(sequence)

    def push_back(self, sequence: Sequence, /) -> None:
        """Add a sequence that was preempted, before the others of its tenant."""
        self._queue_of(sequence).appendleft(sequence)
        self._returned[sequence.request_id] = None

    def pop_head(self) -> Sequence:
        """Remove and return the head, and charge its tenant."""
        tenant = self._next()
        sequence = self._waiting[tenant].popleft()
        if sequence.request_id in self._returned:
            del self._returned[sequence.request_id]
        else:
            share = 1.0 if sequence.tenant is None else sequence.tenant.share
            tokens = sequence.prompt_tokens + _OUTPUT_WEIGHT * sequence.output_tokens
            self._counters[tenant] += tokens / share
        self._tidy(tenant)
        return sequence

    def remove(self, sequence: Sequence, /) -> None:
        """Remove one that waits; see `WaitingQueue`."""
        tenant = _tenant(sequence)
        if tenant not in self._waiting:
            raise ValueError(f"{sequence} does not wait")
        self._waiting[tenant].remove(sequence)
        self._returned.pop(sequence.request_id, None)
        self._tidy(tenant)

    def _next(self) -> int:
        return min(self._waiting, key=lambda tenant: (self._counters[tenant], tenant))

    def _queue_of(self, sequence: Sequence) -> deque[Sequence]:
        tenant = _tenant(sequence)
        queue = self._waiting.get(tenant)
        if queue is None:
            others = [self._counters[other] for other in self._waiting]
            floor = min(others) if others else self._last
            self._counters[tenant] = max(self._counters.get(tenant, 0.0), floor)
            queue = self._waiting[tenant] = deque()
        return queue

    def _tidy(self, tenant: int) -> None:
        if not self._waiting[tenant]:
            del self._waiting[tenant]
            self._last = self._counters[tenant]


def _tenant(sequence: Sequence) -> int:
    return -1 if sequence.tenant is None else sequence.tenant.number


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


@QUEUE_ORDERS.register("fair")
class Fair(QueueOrder):
    """The class, or tenant, that has had the least service for its share first; an oracle.

    As under `fcfs`, the sequence admitted last gives way when KV blocks run out.
    """

    ranked = False

    def rank(self, sequence: Sequence) -> int:
        """Return nothing of use: the queue ranks tenants, not sequences."""
        del sequence
        return 0

    def queue(self) -> WaitingQueue:
        """Return an empty queue; see `FairQueue`."""
        return FairQueue()
