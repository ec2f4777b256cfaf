"""An engine whose KV blocks belong to groups of layers, some of which have a sliding window.

Follows vLLM's v1 scheduler and its hybrid KV cache manager, version 0.33: before a sequence is
given blocks, those are freed that no window of its next tokens reaches; it is admitted when its
whole prompt would fit, for which groups with a window need no more blocks than the window and the
tokens of a step.
"""

from __future__ import annotations

from hermes.costs.kv_groups import KvGroups
from hermes.errors import SimulationError
from hermes.sim.engine import Engine
from hermes.sim.lane import Batch, Lane
from hermes.sim.limits import EngineLimits
from hermes.sim.queues import QueueOrder
from hermes.sim.sequence import Sequence
from hermes.sim.windows.group import WindowGroup
from hermes.sim.windows.holdings import Hit, WindowHoldings

__all__ = ["WindowEngine"]


class WindowEngine(Engine):
    """One replica's scheduler, with windows that slide; see `SchedulerState` for its arguments."""

    __slots__ = ("_windows", "groups")

    decoding: WindowGroup

    def __init__(self, limits: EngineLimits, order: QueueOrder, lanes: int = 1) -> None:
        super().__init__(limits, order, lanes)
        if limits.kv_groups is None:
            raise SimulationError("no layer of the model has a window")
        self.groups: KvGroups = limits.kv_groups
        self.holdings = self._windows = WindowHoldings(limits, self.groups)
        self.pool = self.holdings.pool
        for lane in self.lanes:
            lane.decoding = WindowGroup(
                limits.block_size, self.groups.window, limits.enable_prefix_caching
            )
        self.enter(0)

    # -- moves of a batching policy -------------------------------------------------------------

    def grow_decodes(self, budget: int | None = None, joining: bool = True) -> bool:
        """Take the blocks the next decode step needs, and free what windows leave; see `Engine`.

        Where the free blocks suffice for all, the order in which they take and free does not
        matter. Where not, sequences are asked one by one, as by vLLM.
        """
        del budget, joining
        group, lane, preempted = self.decoding, self._lane, False
        lane.grown = False
        group.begin_growth()
        needed = group.next_blocks * self.groups.total
        if needed <= self._room:
            self._slide_all()
            self.pool.take(needed)
        else:
            for sequence in sorted(group.sequences() + self._prompts_before(), key=_ticket):
                if sequence in self.prefilling:
                    self._slide(sequence)
                else:
                    preempted = self._grow_one(sequence) or preempted
        group.end_growth()
        lane.grown = True
        return preempted

    def _prompts_before(self) -> list[Sequence]:
        """Return prompts that may have been admitted before some decodes: those with a cap."""
        capped = self.limits.long_prefill_token_threshold and not self.paced
        return list(self.prefilling) if capped else []

    def _slide(self, sequence: Sequence) -> None:
        """Free what the windows of a prompt have left behind by its next tokens."""
        skipped = self._windows.skipped(sequence.computed)
        self._windows.slide(sequence, sequence.slid, skipped)
        sequence.slid = max(sequence.slid, skipped)

    @property
    def _room(self) -> int:
        """Blocks that can be taken whatever is freed between."""
        return self.pool.blank if self.pool.caching else self.pool.free

    def _slide_all(self) -> None:
        group = self.decoding
        if not self.pool.caching:
            self.pool.give_back(group.slides_due() * self.groups.sliding)
            return
        for sequence in group.sliders():
            self._windows.slide(sequence, *group.walk(sequence))

    def _grow_one(self, sequence: Sequence) -> bool:
        """Give one decode its blocks; whether any sequence was preempted for it."""
        group, preempted = self.decoding, False
        if sequence.ticket < 0:
            return False
        self._windows.slide(sequence, *group.walk(sequence))
        needed = self.groups.total if group.crosses(sequence) else 0
        while needed > self.pool.free:
            preempted = True
            if self.preempt_one() is sequence:
                return True
        self.pool.take(needed)
        group.taken.add(sequence.ticket)
        return preempted

    def _stop_decoding(self, sequence: Sequence) -> None:
        taken = sequence.ticket in self.decoding.taken
        super()._stop_decoding(sequence)
        if taken:
            sequence.granted = 1

    def extend(self, sequence: Sequence, tokens: int) -> bool:
        """Take the blocks for `tokens` more prompt tokens; see `Engine`."""
        size, done = self.limits.block_size, sequence.computed
        self._slide(sequence)
        needed = (-(-(done + tokens) // size) + (-done // size)) * self.groups.total
        while needed > self.pool.free:
            if self.preempt_one() is sequence:
                return False
        self.pool.take(needed)
        self._windows.share(sequence, done + tokens)
        sequence.granted = tokens
        return True

    def tokens_left(self) -> int:
        """Return the tokens the head of the queue still has to compute; see `Engine`."""
        if not self.waiting:
            return 0
        head = self.waiting.head
        return head.target - self._windows.hit(head).blocks * self.limits.block_size

    def admit(self, budget: int) -> tuple[Sequence, int] | None:
        """Admit the head of the queue; see `Engine`."""
        limits, pool = self.limits, self.pool
        running = self.num_running
        if not self.waiting or running >= limits.max_num_seqs:
            return None
        sequence = self.waiting.head
        hit = self._windows.hit(sequence)
        computed = hit.blocks * limits.block_size
        tokens = self._chunk(sequence.target - computed, budget)
        columns = limits.blocks_for(computed + tokens) - hit.blocks
        needed = self._admission_blocks(sequence, hit, columns)
        if running:
            needed += limits.watermark_blocks
        if needed > pool.free:
            return None
        self._enter_running(sequence)
        self._windows.admit(sequence, hit)
        if sequence.scheduled < 0:
            sequence.reused_tokens = computed
        sequence.computed = computed
        self.prefilling.append(sequence)
        pool.take(columns * self.groups.total)
        self._windows.share(sequence, computed + tokens)
        sequence.granted = tokens
        return sequence, tokens

    def _admission_blocks(self, sequence: Sequence, hit: Hit, columns: int) -> int:
        """Return the free blocks an admission asks for: for its step, or for the whole prompt."""
        limits, groups = self.limits, self.groups
        needed = columns * groups.total
        if limits.reserve_full_prompt:
            whole = limits.blocks_for(sequence.target)
            windows = max(0, min(whole, limits.window_blocks) - hit.blocks)
            needed = max(needed, groups.full * (whole - hit.blocks) + groups.sliding * windows)
        return needed + self.pool.idle(hit.all())

    def could_admit(self, sequence: Sequence) -> bool:
        """Whether there is perhaps room for a sequence at the head of the queue; see `Engine`."""
        limits = self.limits
        if self.num_running >= limits.max_num_seqs:
            return False
        if sequence.prefix or sequence.preemptions or not limits.reserve_full_prompt:
            return True
        return self.decoding.sliding or limits.most_blocks(sequence.target) <= self.pool.free

    def repetitions(self, batch: Batch) -> int:
        """Return for how many steps a pure decode batch keeps its members; see `Engine`.

        At most until another sequence is past the window, and for the blocks that are free now.
        Where somebody waits, until blocks are freed; by this very step, where a policy admits
        before decodes grow.
        """
        decoding = self.decoding
        more = decoding.steps_to_finish() - 1
        if batch.most_steps:
            more = min(more, batch.most_steps - 1)
        if passing := decoding.steps_to_pass():
            more = min(more, passing - 1)
        if self.waiting and decoding.has_slid:
            return 1
        if self.waiting and (sliding := decoding.steps_to_slide()):
            more = min(more, sliding - 1)
        return 1 + decoding.steps_within(self._room // self.groups.total, more, after=1)

    def run_alone(self) -> int:
        """Return 0: the decodes are always asked; see `Engine`."""
        return 0

    def blocks_due(self, steps: int) -> int:
        """Return by how much the blocks in use rise in repetitions of a step; see `Engine`."""
        taken = self.decoding.blocks_needed(steps, after=1) * self.groups.total
        return taken - self.blocks_freed(steps)

    def blocks_freed(self, steps: int) -> int:
        """Return the blocks that windows leave behind in repetitions of a step; see `Engine`."""
        return self.decoding.slides(steps) * self.groups.sliding

    def _decode(self, steps: int) -> None:
        group, windows = self.decoding, self._windows
        if not self.pool.caching:
            self.pool.give_back(self.blocks_freed(steps - 1))
        else:
            for ahead in range(1, steps):
                for sequence in group.sliders(ahead):
                    end = group.skipped(group.context_of(sequence) + ahead)
                    windows.slide(sequence, end - 1, end)
        self.pool.take(group.run(steps) * self.groups.total)

    # -- blocks ---------------------------------------------------------------------------------

    def blocks_held(self, lane: Lane, sequence: Sequence) -> int:
        """Return the KV blocks that a running sequence of a lane holds; see `SchedulerState`."""
        if sequence in lane.prefilling:
            return self.holdings.blocks_of(sequence)
        columns = self.limits.blocks_for(self._decode_slots(lane, sequence))
        group = lane.decoding
        assert isinstance(group, WindowGroup)
        return columns * self.groups.total - group.slid(sequence) * self.groups.sliding

    def awaited_blocks(self, sequence: Sequence) -> int:
        """Return the KV blocks that a waiting sequence will take; see `SchedulerState`."""
        return self.limits.most_blocks(sequence.target)

    def _enqueue(self, sequence: Sequence) -> None:
        super()._enqueue(sequence)
        self.queued_blocks += self._beyond_columns(sequence)

    def _uncount(self, sequence: Sequence) -> None:
        self.queued_blocks -= self._beyond_columns(sequence)
        super()._uncount(sequence)

    def _beyond_columns(self, sequence: Sequence) -> int:
        """Return how many more blocks a waiting sequence will take than one group would."""
        return self.awaited_blocks(sequence) - self.limits.blocks_for(sequence.target)


def _ticket(sequence: Sequence) -> int:
    return sequence.ticket
