"""A station: one replica of a client that serves no language model.

Jobs queue, first come first served, and are served a batch at a time. A job is a number of texts
(or queries, or one piece of work); a batch takes as many as its limits allow, of several jobs, and
a large job takes several batches. What a batch moves through host memory flows over that memory's
link and shares it with all else that does; the batch is done once it is both computed and moved.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from simpy import Event

from hermes.errors import SimulationError
from hermes.sim.clock import Alarm, Clock, end_priority
from hermes.sim.network import FlowNetwork
from hermes.sim.pipelines.signal import Signal
from hermes.sim.stations.executor import Executor

__all__ = ["Batching", "Job", "Station", "Work"]


@dataclass(frozen=True, slots=True)
class Work:
    """What a batch takes: ticks of computing, bytes through host memory meanwhile, ticks after."""

    ticks: int
    memory_bytes: int = 0
    ticks_after: int = 0


@dataclass(slots=True, eq=False)
class Job:
    """What one request wants of a station.

    Attributes:
        done: Given when all its items are done.
        items: Texts, queries, or 1.
        tokens: Of each item.
        model: Position of the encoder to use among the station's.
        ticks: Its own time, for stations that do not compute it.
        submitted: Tick at which it was queued.
        started: Tick at which its first item was taken up.
    """

    done: Signal
    items: int = 1
    tokens: int = 0
    model: int = 0
    ticks: int = 0
    submitted: int = 0
    started: int = -1
    waiting: int = 0  # items not taken up yet
    pending: int = 0  # items not done yet


@dataclass(frozen=True, slots=True)
class Batching:
    """How a station serves.

    Attributes:
        work: What a batch of items takes; the parts are jobs and how many items of each.
        most_items: In one batch.
        most_tokens: In one batch; a longer item is a batch of its own.
        needs: Shares of the executor that a batch occupies.
        memory: Links that the memory traffic of a batch flows over.
        memory_bytes_per_second: The most of them that one batch can use.
    """

    work: Callable[[Sequence[tuple[Job, int]]], Work]
    most_items: int
    most_tokens: int
    needs: int
    memory: tuple[str, ...] = ()
    memory_bytes_per_second: float | None = None


class Station:
    """A queue of jobs and the batches under way.

    Args:
        env: The SimPy environment.
        index: Its number among all replicas and stations; settles what shares a tick.
        place: The number of the replica whose devices it stands on, for paths; -1: nowhere.
        executor: What computes.
        batching: How it serves.
        network: What memory traffic flows over.
    """

    def __init__(
        self,
        env: Clock,
        index: int,
        place: int,
        executor: Executor,
        batching: Batching,
        network: FlowNetwork,
    ) -> None:
        self.index = index
        self.place = place
        self.needs = batching.needs
        self.queue: deque[Job] = deque()
        self.busy_ticks = 0  # of executor shares, as a part of the whole executor
        self.batches = 0
        self._env = env
        self._executor = executor
        self._batching = batching
        self._network = network
        self.outstanding = 0  # jobs queued or under way
        self._priority = end_priority(index)
        executor.add(self)

    @property
    def oldest(self) -> int:
        """Tick at which the head of the queue came."""
        return self.queue[0].submitted

    def submit(self, job: Job) -> None:
        """Queue a job."""
        job.submitted = self._env.now
        job.waiting = job.pending = job.items
        self.outstanding += 1
        self.queue.append(job)
        self._executor.wake()

    def check_drained(self) -> None:
        """Raise if a job is left when no event is: nobody will ever take it up."""
        if self.outstanding or self.queue or self._executor.free != self._executor.shares:
            raise SimulationError(
                f"the simulation ended with {self.outstanding} jobs of station {self.index} not "
                f"done, {len(self.queue)} of them queued, and {self._executor.free} of "
                f"{self._executor.shares} shares of its device free"
            )

    def outstanding_requests(self) -> int:
        """Jobs queued or under way."""
        return self.outstanding

    def start_batch(self) -> None:
        """Serve a batch; the executor has set its shares aside."""
        parts = self._take()
        now = self._env.now
        for job, _ in parts:
            if job.started < 0:
                job.started = now
        self.batches += 1
        work = self._batching.work(parts)
        computed: Callable[[Event], None] = partial(self._end, parts, now)
        if work.memory_bytes > 0 or work.ticks_after:
            computed = self._with_memory(work, parts, now)
        alarm = Alarm(self._env).set(work.ticks, self._priority)
        alarm.callbacks.append(computed)

    def _with_memory(
        self, work: Work, parts: Sequence[tuple[Job, int]], began: int
    ) -> Callable[[Event], None]:
        """Let a batch's bytes flow; return what is to be called once it is computed."""
        left = 1 + (work.memory_bytes > 0)

        def over(event: Event | None = None) -> None:
            nonlocal left
            left -= 1
            if left:
                return
            if work.ticks_after:
                ending = Alarm(self._env).set(work.ticks_after, self._priority)
                ending.callbacks.append(partial(self._end, parts, began))
            else:
                self._end(parts, began, event)

        if work.memory_bytes > 0:
            self._network.transfer(
                self._batching.memory,
                work.memory_bytes,
                over,
                max_bytes_per_second=self._batching.memory_bytes_per_second,
            )
        return over

    def _take(self) -> list[tuple[Job, int]]:
        """Take the items of a batch, oldest first, all for one model."""
        head = self.queue[0]
        if len(self.queue) == 1 and head.waiting == 1:
            self.queue.clear()
            head.waiting = 0
            return [(head, 1)]
        model = head.model
        items = self._batching.most_items
        tokens = self._batching.most_tokens
        parts: list[tuple[Job, int]] = []
        kept: deque[Job] = deque()
        while self.queue and items:
            job = self.queue.popleft()
            fits = job.waiting if job.model == model else 0
            if job.tokens:
                fits = min(fits, max(tokens // job.tokens, 0 if parts else 1))
            taken = min(fits, items)
            if taken:
                parts.append((job, taken))
                job.waiting -= taken
                items -= taken
                tokens -= taken * job.tokens
            if job.waiting:
                kept.append(job)
                if job.model == model:
                    break
        kept.extend(self.queue)
        self.queue = kept
        return parts

    def _end(self, parts: Sequence[tuple[Job, int]], began: int, _: Event | None) -> None:
        """Let those go on whose items are all done."""
        executor = self._executor
        self.busy_ticks += (self._env.now - began) * self.needs // executor.shares
        for job, items in parts:
            job.pending -= items
            if not job.pending:
                self.outstanding -= 1
                job.done.give()
        executor.released(self.needs)
