"""An engine that finds the beginning of prompts in tiers, after vLLM's v1 scheduler.

A request at the head of the queue, part of whose KV lies in a tier, is given blocks for that part
and set aside; those behind it go on. Once the KV is there it is the first to be admitted, and
computes the rest of its prompt. Room for all its prompt is required at once, beside what others
set aside have yet to take, so that they can always finish. With `layerwise` loads it is admitted
at once instead, and its first step takes until the last layer has come.

Unlike vLLM, whose queue orders rank those that are loaded as well, they go first in every order.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from itertools import chain, count

from hermes.errors import SimulationError
from hermes.sim.engine import Engine
from hermes.sim.lane import Batch
from hermes.sim.limits import EngineLimits
from hermes.sim.prefix_source import PrefixSource
from hermes.sim.queues import QueueOrder, WaitingQueue
from hermes.sim.sequence import Sequence

__all__ = ["LoadedFirst", "TieredEngine"]


class LoadedFirst:
    """A queue in which sequences whose KV has come stand before all others.

    Args:
        others: Holds the others.
    """

    __slots__ = ("_loaded", "_others")

    def __init__(self, others: WaitingQueue) -> None:
        self._others = others
        self._loaded: list[tuple[int, Sequence]] = []

    @property
    def head(self) -> Sequence:
        """The next sequence; see `WaitingQueue`."""
        return self._loaded[0][1] if self._loaded else self._others.head

    def __len__(self) -> int:
        return len(self._loaded) + len(self._others)

    def __iter__(self) -> Iterator[Sequence]:
        return chain((sequence for _, sequence in self._loaded), self._others)

    def push(self, sequence: Sequence, /) -> None:
        """Add a sequence that arrived."""
        self._others.push(sequence)

    def push_back(self, sequence: Sequence, /) -> None:
        """Add a sequence that was preempted."""
        self._others.push_back(sequence)

    def push_loaded(self, serial: int, sequence: Sequence) -> None:
        """Add a sequence whose KV has come, by when it was given blocks."""
        insort(self._loaded, (serial, sequence))

    def loaded(self) -> list[Sequence]:
        """Return those whose KV has come."""
        return [sequence for _, sequence in self._loaded]

    def pop_head(self) -> Sequence:
        """Remove and return the head."""
        return self._loaded.pop(0)[1] if self._loaded else self._others.pop_head()

    def remove(self, sequence: Sequence) -> None:
        """Remove a sequence from anywhere."""
        if sequence in self.loaded():
            self._loaded = [entry for entry in self._loaded if entry[1] is not sequence]
        else:
            self._others.remove(sequence)


class TieredEngine(Engine):
    """One replica's scheduler, with tiers; see `Engine`."""

    __slots__ = ("_asked", "_loading", "_queue", "_serials", "source")

    def __init__(self, limits: EngineLimits, order: QueueOrder, lanes: int = 1) -> None:
        super().__init__(limits, order, lanes)
        self.waiting: WaitingQueue
        self.waiting = self._queue = LoadedFirst(self.waiting)
        self.source: PrefixSource | None = None
        self._loading: dict[int, tuple[int, Sequence]] = {}  # by request: serial and sequence
        self._serials = count()
        self._asked = 0  # tokens that the source has for the sequence just considered

    @property
    def layerwise(self) -> bool:
        """Whether requests begin before their KV has come."""
        return self.source is not None and self.source.layerwise

    @property
    def num_loading(self) -> int:
        """Sequences whose KV is on its way; see `SchedulerState`."""
        return len(self._loading)

    @property
    def pending_prompt_tokens(self) -> int:
        """Prompt tokens queued or begun, and not yet computed; see `SchedulerState`."""
        parked = self.holdings.parked
        coming = sum(
            sequence.target - parked[request].tokens
            for request, (_, sequence) in self._loading.items()
        )
        return super().pending_prompt_tokens + coming

    def could_admit(self, sequence: Sequence) -> bool:
        """Whether there is a place, and perhaps room, for the head; see `SchedulerState`."""
        if sequence.loaded:
            return self.num_running < self.limits.max_num_seqs
        return super().could_admit(sequence)

    # -- moves of a batching policy -------------------------------------------------------------

    def tokens_left(self) -> int:
        """Return the tokens the head of the queue has to compute, after setting others aside."""
        self._set_aside()
        if self.waiting and self.waiting.head.loaded:
            return self.waiting.head.target - self.waiting.head.loaded
        left = super().tokens_left()
        if self.layerwise and left > 1:
            head = self.waiting.head
            left -= self._fetched(head, head.target - left)
        return left

    def admit(self, budget: int) -> tuple[Sequence, int] | None:
        """Admit the head of the queue, after setting those aside whose KV is to come."""
        if not self._set_aside():
            return None
        if self.waiting and self.waiting.head.loaded:
            return self._admit_loaded(budget)
        fresh = bool(self.waiting) and not (self.waiting.head.swapped or self.waiting.head.remote)
        self._asked = 0
        admitted = super().admit(budget)
        if admitted is not None and fresh and self.source is not None:
            sequence = admitted[0]
            self.source.take(sequence, sequence.computed - self._asked)
            sequence.awaits_kv = False
            if self._asked:
                self.fetching.append(sequence)
        return admitted

    def _fetched(self, sequence: Sequence, begin: int) -> int:
        if self.source is None or not self.source.layerwise or sequence.swapped:
            return 0
        self._asked = self.source.find(sequence, begin)
        return self._asked

    def _set_aside(self) -> bool:
        """Give blocks to those at the head whose KV lies in a tier; let it flow.

        Returns:
            Whether the head, if there is one, may now be admitted; false when it waits for room.
        """
        limits, pool = self.limits, self.pool
        if self.source is None or self.source.layerwise:
            return True
        while self.waiting and self.num_running < limits.max_num_seqs:
            sequence = self.waiting.head
            if sequence.loaded or sequence.swapped or sequence.remote:
                return True
            head = self.holdings.cached_head(sequence)
            begin = len(head) * limits.block_size
            found = self.source.find(sequence, begin)
            if not (found or sequence.awaits_kv):
                return True
            # Once found, room for all is asked for even if the tier gives the block up meanwhile:
            # so what is admitted at a step depends on blocks alone, however steps are grouped.
            needed = limits.blocks_for(sequence.target) - len(head) + pool.idle(head)
            if needed + self._reserve() + self._promised() > pool.free:
                sequence.awaits_kv = True
                return False
            if not found:
                return True
            self._begin_load(sequence, begin, found)
        return True

    def _begin_load(self, sequence: Sequence, begin: int, found: int) -> None:
        if self.source is None:
            raise SimulationError(f"{sequence} has nowhere to load from")
        self._leave_queue(sequence)
        head = self.holdings.cached_head(sequence)
        self.holdings.reserve(sequence, begin + found, head)
        if sequence.scheduled < 0:
            sequence.reused_tokens = begin
        sequence.awaits_kv = False
        self._loading[sequence.request_id] = (next(self._serials), sequence)
        self.fetching.append(sequence)
        self.source.take(sequence, begin)

    def _admit_loaded(self, budget: int) -> tuple[Sequence, int] | None:
        """Admit the head of the queue, whose KV has come, to compute the rest of its prompt."""
        if self.num_running >= self.limits.max_num_seqs:
            return None
        sequence = self.waiting.head
        computed = sequence.loaded
        tokens = self._chunk(sequence.target - computed, budget)
        held = self.limits.blocks_for(self.holdings.parked[sequence.request_id].slots)
        blocks = max(0, self._blocks_with(sequence, computed, tokens) - held)
        if blocks + self._reserve() > self.pool.free:
            return None
        self._enter_running(sequence)
        self.holdings.unpark(sequence)
        sequence.computed, sequence.loaded = computed, 0
        self.prefilling.append(sequence)
        self.pool.take(blocks)
        if sequence.prefix:
            self.holdings.share(sequence, computed + tokens)
        sequence.granted = tokens
        return sequence, tokens

    def repetitions(self, batch: Batch) -> int:
        """Return for how many steps a decode batch goes on; up to the first block evicted.

        That one is written to a tier at the step that evicts it; see `Engine`.
        """
        steps = super().repetitions(batch)
        if self.pool.evicted is None or steps == 1:
            return steps
        return 1 + self.decoding.steps_within(self.pool.blank, steps - 1, after=1)

    # -- transfers ------------------------------------------------------------------------------

    def lose_others(self) -> list[Sequence]:
        """Take everything from the sequences that do not run; see `Engine`.

        KV goes on flowing to those that were set aside, for nobody.
        """
        loading = [sequence for _, sequence in self._loading.values()]
        self._loading.clear()
        lost = super().lose_others()
        if self.pool.evicted is not None:
            self.pool.evicted.clear()
        return [*loading, *lost]

    def loaded(self, sequence: Sequence) -> None:
        """Let a sequence be the next to be admitted: its KV has come, unless all is lost."""
        serial, awaited = self._loading.get(sequence.request_id, (0, None))
        if awaited is not sequence:
            return
        del self._loading[sequence.request_id]
        if sequence in self.doomed:
            self.doomed.remove(sequence)
            self.holdings.sent(sequence)
            return
        sequence.loaded = self.holdings.filled(sequence)
        self._enqueue(sequence)
        self._queue.push_loaded(serial, sequence)

    def _promised(self) -> int:
        """Return the blocks that others have yet to take for their prompts; see `Engine`."""
        blocks_for, parked = self.limits.blocks_for, self.holdings.parked
        coming = [sequence for _, sequence in self._loading.values()]
        coming += self._queue.loaded()
        rest = sum(
            max(0, blocks_for(s.target) - blocks_for(parked[s.request_id].slots)) for s in coming
        )
        return super()._promised() + rest

    # -- the queue ------------------------------------------------------------------------------

    def _enqueue(self, sequence: Sequence) -> None:
        super()._enqueue(sequence)
        self._count_loaded(sequence, -1)

    def _uncount(self, sequence: Sequence) -> None:
        super()._uncount(sequence)
        self._count_loaded(sequence, 1)

    def _count_loaded(self, sequence: Sequence, sign: int) -> None:
        """Leave what has come out of what the queue has yet to take and compute."""
        self.queued_blocks += sign * self.limits.blocks_for(sequence.loaded)
        self.queued_tokens += sign * sequence.loaded
