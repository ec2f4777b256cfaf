"""What one LLM engine knows: who waits, who runs in which lane, and the KV blocks they hold.

`Engine` adds what a batching policy can do with it, and what comes of a step.
"""

from __future__ import annotations

from itertools import count

from hermes.sim.decode_group import DecodeGroup
from hermes.sim.holdings import Holdings
from hermes.sim.kv_cache import BlockPool
from hermes.sim.lane import Lane
from hermes.sim.limits import EngineLimits
from hermes.sim.queues import QueueOrder
from hermes.sim.running import RunningList
from hermes.sim.sequence import Sequence

__all__ = ["SchedulerState"]


class SchedulerState:
    """State of one replica's scheduler.

    Args:
        limits: Bounds of its batches and its cache.
        order: Which request is next, and which gives way.
        lanes: Batches in flight at once. Every running sequence belongs to one lane; moves are
            those of the lane last entered, and whoever must give way is of that lane.
    """

    __slots__ = (
        "_elsewhere",
        "_lane",
        "_order",
        "_running",
        "arrived",
        "awaited_output_tokens",
        "decoding",
        "doomed",
        "fetching",
        "handed",
        "holdings",
        "host_blocks",
        "in_flight",
        "interrupted",
        "lanes",
        "limits",
        "moved_tokens",
        "paced",
        "pool",
        "preempted",
        "prefilling",
        "queued_blocks",
        "queued_output_tokens",
        "queued_tokens",
        "resumed",
        "steps",
        "waiting",
        "waits_ended",
    )

    def __init__(self, limits: EngineLimits, order: QueueOrder, lanes: int = 1) -> None:
        self.limits = limits
        self.waiting = order.queue()
        self.steps = 0  # completed
        self.in_flight = 0  # steps begun and not completed, besides the one being formed
        self.paced = limits.prefill_schedule_interval > 1  # prompts may be held back
        self.queued_blocks = 0  # that the waiting sequences will take, as far as is known
        self.queued_tokens = 0  # that they have to compute
        self.queued_output_tokens = 0  # that they have yet to sample
        self.awaited_output_tokens = 0  # that those have yet to sample whose KV is on its way
        tickets = count()
        self.lanes = [
            Lane(DecodeGroup(limits.block_size), [], RunningList(order.ranked, tickets))
            for _ in range(lanes)
        ]
        self.enter(0)
        self.holdings = Holdings(limits)
        self.pool = self.holdings.pool
        self.host_blocks = limits.swap_blocks  # free in host memory
        # What happened since the replica last asked, which empties these:
        self.preempted: list[Sequence] = []
        self.interrupted: list[Sequence] = []  # those of them that decoded
        self.resumed: list[Sequence] = []  # swapped in, decoding again
        self.moved_tokens = 0  # whose KV went to or came from host memory
        self.handed: list[Sequence] = []  # prompt computed, to go on elsewhere
        self.fetching: list[Sequence] = []  # given blocks, to be filled from elsewhere
        self.waits_ended: list[int] = []  # ticks between two tokens with a preemption between them
        self.arrived: list[Sequence] = []  # filled from elsewhere, to decode from the next step
        self.doomed: list[Sequence] = []  # to be taken out at the next step boundary
        self._order = order

    def enter(self, lane: int) -> None:
        """Make the moves those of a lane."""
        entered = self._lane = self.lanes[lane]
        self.decoding = entered.decoding
        self.prefilling = entered.prefilling
        self._running = entered.running
        self._elsewhere = sum(other.size for other in self.lanes if other is not entered)

    @property
    def num_running(self) -> int:
        """Sequences admitted and not done."""
        return self.decoding.size + len(self.prefilling) + self._elsewhere

    @property
    def scheduled(self) -> int:
        """Steps that were formed so far."""
        return self.steps + self.in_flight

    @property
    def num_loading(self) -> int:
        """Sequences that wait for KV from a tier, and are neither queued nor running."""
        return 0

    @property
    def has_work(self) -> bool:
        """Whether a step could compute anything, if there is room."""
        return (
            self.decoding.size > 0
            or bool(self.prefilling)
            or bool(self.waiting)
            or bool(self.arrived)
            or self._elsewhere > 0
        )

    @property
    def pending_prompt_tokens(self) -> int:
        """Prompt tokens queued or begun, and not yet computed."""
        return self.queued_tokens + sum(
            s.target - s.computed for lane in self.lanes for s in lane.prefilling
        )

    def remaining_output_tokens(self) -> int:
        """Return the output tokens its requests have yet to sample, which no scheduler knows."""
        tokens = self.queued_output_tokens + self.awaited_output_tokens
        for lane in self.lanes:
            tokens += lane.decoding.remaining_tokens()
            tokens += sum(s.final_context + 1 - s.target for s in lane.prefilling)
        return tokens + sum(s.final_context - s.computed for s in self.arrived)

    def rejection(self, prompt_tokens: int, output_tokens: int) -> str:
        """Return why a request can never be served here, or an empty string."""
        if prompt_tokens + output_tokens > self.limits.max_model_len:
            return "exceeds_max_model_len"
        if self.limits.most_blocks(prompt_tokens + output_tokens - 1) > self.limits.num_blocks:
            return "exceeds_kv_cache"
        return ""

    def knows(self, sequence: Sequence) -> bool:
        """Whether a sequence is here: running, waiting, or its KV is on its way here."""
        if sequence.ticket >= 0 or sequence in self.waiting:
            return True
        return sequence.request_id in self.holdings.parked and not sequence.hand_off

    def submit(self, sequence: Sequence) -> None:
        """Queue a sequence that arrived."""
        self._enqueue(sequence)
        self.waiting.push(sequence)

    def could_admit(self, sequence: Sequence) -> bool:
        """Whether there is a place, and perhaps room, for a sequence at the head of the queue."""
        limits = self.limits
        if self.decoding.size + len(self.prefilling) + self._elsewhere >= limits.max_num_seqs:
            return False
        if sequence.remote:
            return limits.blocks_for(sequence.remote + 1) <= self.pool.free
        if sequence.prefix or not limits.reserve_full_prompt:
            return True
        return -(-sequence.target // limits.block_size) <= self.pool.free

    def use_pool(self, pool: BlockPool) -> None:
        """Let another pool give and take the blocks, before any is taken."""
        self.pool = self.holdings.pool = pool

    def use_running(self, running: RunningList) -> None:
        """Let another list hold the running sequences, of a single lane, before there are any."""
        self.lanes[0].running = running
        self.enter(0)

    def blocks_held(self, lane: Lane, sequence: Sequence) -> int:
        """Return the KV blocks that a running sequence of a lane holds."""
        if sequence in lane.prefilling:
            return self.holdings.blocks_of(sequence)
        return self.limits.blocks_for(self._decode_slots(lane, sequence))

    def awaited_blocks(self, sequence: Sequence) -> int:
        """Return the KV blocks that a waiting sequence will take, as far as is known."""
        return self.limits.blocks_for(sequence.target) - self.limits.blocks_for(sequence.loaded)

    def _decode_slots(self, lane: Lane, sequence: Sequence) -> int:
        """Return the tokens that a decoding sequence has blocks for."""
        return lane.decoding.context_of(sequence) + lane.grown

    # -- the queue and the running list ---------------------------------------------------------

    def _enqueue(self, sequence: Sequence) -> None:
        self.queued_blocks -= -sequence.target // self.limits.block_size
        self.queued_tokens += sequence.target
        self.queued_output_tokens += sequence.final_context + 1 - sequence.target
        if self._order.ranked:
            sequence.rank = (self._order.rank(sequence), sequence.arrival, sequence.request_id)

    def _enter_running(self, sequence: Sequence) -> None:
        self._leave_queue(sequence)
        self._running.append(sequence)

    def _leave_queue(self, sequence: Sequence) -> None:
        self.waiting.pop_head()
        self._uncount(sequence)

    def withdraw(self, sequence: Sequence) -> None:
        """Take a sequence out of the queue, wherever it stands in it."""
        self.waiting.remove(sequence)
        self._uncount(sequence)
        self.host_blocks += self.limits.blocks_for(sequence.swapped)
        sequence.swapped = 0

    def _uncount(self, sequence: Sequence) -> None:
        """Let a sequence that leaves the queue be awaited no more."""
        target = sequence.target
        self.queued_blocks += -target // self.limits.block_size
        self.queued_tokens -= target
        self.queued_output_tokens -= sequence.final_context + 1 - target

    def _reserve(self) -> int:
        return self.limits.watermark_blocks if self.num_running else 0

    def _chunk(self, tokens: int, budget: int) -> int:
        threshold = self.limits.long_prefill_token_threshold
        if threshold and threshold < tokens and self.num_running + len(self.waiting) > 1:
            tokens = threshold
        return tokens if tokens < budget else budget

    def _stop_decoding(self, sequence: Sequence) -> None:
        if sequence.join_step != self.decoding.step:
            sequence.last_token = -1  # at the group's latest step, which the replica knows
        if sequence in self.resumed:
            self.resumed.remove(sequence)
        else:
            self.interrupted.append(sequence)
        self.decoding.leave(sequence)
        sequence.target = sequence.computed + 1
        sequence.granted = int(self._lane.grown)
