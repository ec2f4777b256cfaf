"""One LLM engine: its queue, its running sequences, its KV blocks, and the moves a policy has.

The engine knows nothing of SimPy. A batching policy composes a `Batch` from the moves below; the
replica puts a duration on it and tells the engine when it has ended. Rules that carry vLLM's names
follow its v1 scheduler, version 0.33: KV blocks are taken only for the tokens of this step; a
waiting request is admitted when its whole known sequence would fit; when blocks run out a running
sequence loses its own and goes back to the queue.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

from hermes.errors import SimulationError
from hermes.sim.decode_group import DecodeGroup
from hermes.sim.kv_cache import BlockPool, CachedBlock
from hermes.sim.limits import EngineLimits
from hermes.sim.queues import QueueOrder
from hermes.sim.running import RunningList
from hermes.sim.sequence import Sequence

__all__ = ["Batch", "Engine"]


@dataclass(slots=True)
class Batch:
    """What one step computes: one token of every decoding sequence, and chunks of prompts."""

    decodes: int = 0
    prefills: list[tuple[Sequence, int]] = field(default_factory=list)
    repeatable: bool = (
        False  # the next step would be alike until a finish, a shortage or an arrival
    )
    most_steps: int = 0  # that it may be repeated for; 0: as long as that

    def __bool__(self) -> bool:
        return self.decodes > 0 or bool(self.prefills)


def _ticket(sequence: Sequence) -> int:
    return sequence.ticket


@dataclass(slots=True)
class Lane:
    """The running sequences that share their batches: all of them, without a pipeline."""

    decoding: DecodeGroup
    prefilling: list[Sequence]  # admitted, prompt not yet computed; oldest first
    running: RunningList
    grown: bool = False  # the decodes have the blocks of the step formed last

    @property
    def size(self) -> int:
        """Sequences admitted and not done."""
        return self.decoding.size + len(self.prefilling)


class Engine:
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
        "fetching",
        "handed",
        "host_blocks",
        "interrupted",
        "lanes",
        "limits",
        "moved_tokens",
        "parked",
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
        self.pool = BlockPool(limits.num_blocks, limits.enable_prefix_caching)
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
        self.parked: dict[int, tuple[int, list[CachedBlock]]] = {}  # tokens in transfer, by request
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
        if self.limits.blocks_for(prompt_tokens + output_tokens - 1) > self.limits.num_blocks:
            return "exceeds_kv_cache"
        return ""

    def submit(self, sequence: Sequence) -> None:
        """Queue a sequence that arrived."""
        self._enqueue(sequence)
        self.waiting.push(sequence)

    def could_admit(self, sequence: Sequence) -> bool:
        """Whether there is a place, and perhaps room, for a sequence at the head of the queue."""
        if self.num_running >= self.limits.max_num_seqs:
            return False
        if sequence.remote:
            return self.limits.blocks_for(sequence.remote + 1) <= self.pool.free
        if sequence.prefix or not self.limits.reserve_full_prompt:
            return True
        return self.limits.blocks_for(sequence.target) <= self.pool.free

    # -- moves of a batching policy -------------------------------------------------------------

    def grow_decodes(self, budget: int | None = None, joining: bool = True) -> bool:
        """Take the blocks the next decode step needs; preempt while short.

        Sequences whose KV has come from elsewhere join the step, unless any is preempted. A policy
        that computes prompts as well lets them join after those, by `join_arrived`.

        vLLM walks the running list and preempts whenever one request finds no block. Whom it
        preempts does not depend on who asks, so what remains at the end is what remains when the
        same victims go until everyone's needs are met, which needs no walk.

        Args:
            budget: Most tokens of the step; every policy sees to it that one a decode are in it.
            joining: Whether sequences whose KV has come join here.

        Returns:
            Whether any sequence was preempted.
        """
        del budget
        lane, preempted = self._lane, False
        lane.grown = False
        while (needed := self.decoding.next_blocks) > self.pool.free:
            self.preempt_one()
            preempted = True
        if needed:
            self.pool.take(needed)
        lane.grown = True
        if joining and not preempted:
            self.join_arrived(len(self.arrived))
        return preempted

    def join_arrived(self, most: int) -> int:
        """Let up to `most` sequences whose KV has come from elsewhere decode in this step.

        They join in the order in which they were given blocks, while there are places.

        Returns:
            How many did.
        """
        if not self.arrived:
            return 0
        blocks_for = self.limits.blocks_for
        places = min(most, self.limits.max_num_seqs - self.num_running)
        joined = 0
        for sequence in self._arrived_in_order()[:places]:
            tokens, held = self.parked[sequence.request_id]
            needed = blocks_for(sequence.computed + 1) - blocks_for(tokens)
            if needed > self.pool.free:
                break
            self.pool.take(needed)
            del self.parked[sequence.request_id]
            sequence.held = held
            self._join(sequence)
            joined += 1
        return joined

    def _arrived_in_order(self) -> list[Sequence]:
        """Return those whose KV has come, in the order in which they were given blocks."""
        there = {sequence.request_id: sequence for sequence in self.arrived}
        return [there[request] for request in self.parked if request in there]

    def _join(self, sequence: Sequence) -> None:
        """Let a sequence whose KV has come decode."""
        self.arrived.remove(sequence)
        self._running.append(sequence)
        self.decoding.join(sequence)
        self.resumed.append(sequence)

    def extend(self, sequence: Sequence, tokens: int) -> bool:
        """Take the blocks for `tokens` more prompt tokens; preempt while short.

        Returns:
            Whether the sequence may run; false when it was itself preempted.
        """
        size, done = self.limits.block_size, sequence.computed
        needed = -(-(done + tokens) // size) + (-done // size)
        while needed > self.pool.free:
            if self.preempt_one() is sequence:
                return False
        self.pool.take(needed)
        if sequence.prefix:
            self._share(sequence, done + tokens)
        sequence.granted = tokens
        return True

    def next_tokens(self) -> int:
        """Return the tokens a step must hold for the head of the queue; 0 when nobody waits."""
        return self.tokens_left()

    def tokens_left(self) -> int:
        """Return the tokens the head of the queue still has to compute; 0 when nobody waits."""
        if not self.waiting or self.waiting.head.remote:
            return 0
        head = self.waiting.head
        if head.swapped:
            return head.target - head.swapped
        return head.target - len(self._cached_head(head)) * self.limits.block_size

    def admit(self, budget: int) -> tuple[Sequence, int] | None:
        """Admit the head of the queue, to compute up to `budget` tokens now, if it fits.

        Returns:
            The sequence and the prompt tokens to compute, which are 0 for one that was swapped in
            and decodes in this step; None when there is no room, or nobody waits.
        """
        limits, pool = self.limits, self.pool
        running = self.decoding.size + len(self.prefilling) + self._elsewhere
        if not self.waiting or running >= limits.max_num_seqs:
            return None
        sequence = self.waiting.head
        if sequence.swapped:
            return self._swap_in(sequence, budget)
        if sequence.remote:
            return None
        head = self._cached_head(sequence)
        computed = len(head) * limits.block_size
        tokens = self._chunk(sequence.target - computed, budget)
        blocks = needed = self._blocks_with(sequence, computed, tokens)
        if limits.reserve_full_prompt:
            needed = max(needed, -(-sequence.target // limits.block_size))
        if running:
            needed += limits.watermark_blocks
        if head:
            needed -= len(head) - pool.idle(head)
        if needed > pool.free:
            return None
        self._enter_running(sequence)
        if head:
            pool.hold(head)
            sequence.held = head
            if sequence.scheduled < 0:
                sequence.reused_tokens = computed
        sequence.computed = computed
        self.prefilling.append(sequence)
        pool.take(blocks - len(head))
        if sequence.prefix:
            self._share(sequence, computed + tokens)
        sequence.granted = tokens
        return sequence, tokens

    def chunk(self, sequence: Sequence, budget: int) -> int:
        """Return the prompt tokens an admitted sequence may compute within `budget`."""
        return self._chunk(sequence.target - sequence.computed, budget)

    def preempt_one(self) -> Sequence:
        """Take everything from the sequence that must give way, and queue it again.

        What it was given in the step being formed is left in its `granted`.
        """
        sequence = self._running.pop_victim()
        if sequence in self.prefilling:
            self.prefilling.remove(sequence)
        else:
            self._stop_decoding(sequence)
        self._let_go(sequence, self._blocks_of(sequence))
        sequence.ticket = -1
        sequence.preemptions += 1
        self.preempted.append(sequence)
        self._enqueue(sequence)
        self.waiting.push_back(sequence)
        return sequence

    def repetitions(self, batch: Batch) -> int:
        """Return for how many steps a pure decode batch, just formed, keeps its members and blocks.

        The first of them has its blocks already.
        """
        decoding = self.decoding
        more = decoding.steps_to_finish() - 1
        if batch.most_steps:
            more = min(more, batch.most_steps - 1)
        return 1 + decoding.steps_within(self.pool.free, more, after=1)

    # -- what a step did ------------------------------------------------------------------------

    def complete(self, batch: Batch, steps: int, now: int) -> list[Sequence]:
        """Book the end of `steps` steps of a batch at tick `now`; return the sequences that ended.

        Blocks of the first step were taken when the batch was formed; those of its repetitions are
        taken here.
        """
        finished: list[Sequence] = []
        self.steps += steps
        if batch.decodes:
            decoding = self.decoding
            decoding.advance(1)
            if steps > 1:
                self.pool.take(decoding.blocks_needed(steps - 1))
                decoding.advance(steps - 1)
            if decoding.due:
                finished = decoding.pop_finished()
        self._lane.grown = False
        for sequence, tokens in batch.prefills:
            sequence.granted = 0
            sequence.computed += tokens
            if sequence.computed == sequence.target:
                self.prefilling.remove(sequence)
                self._sampled(sequence, now, finished)
        if finished:
            finished.sort(key=_ticket)
            for sequence in finished:
                self._retire(sequence)
            self._running.tidy(self.decoding.size + len(self.prefilling))
        return finished

    def _sampled(self, sequence: Sequence, now: int, finished: list[Sequence]) -> None:
        if sequence.first_token < 0:
            sequence.first_token = now
        else:
            self.waits_ended.append(now - sequence.last_token)
        sequence.last_token = now
        if sequence.computed == sequence.final_context:
            finished.append(sequence)
        elif sequence.hand_off:
            self.parked[sequence.request_id] = (sequence.computed, sequence.held)
            sequence.held = []
            sequence.ticket = -1
            self.handed.append(sequence)
        else:
            self.decoding.join(sequence)

    # -- transfers ------------------------------------------------------------------------------

    def sent(self, sequence: Sequence) -> None:
        """Free the blocks of a sequence whose KV has arrived elsewhere."""
        self._free_blocks(*self.parked.pop(sequence.request_id))

    def keep(self, sequence: Sequence) -> None:
        """Let a sequence that was to be handed off decode here after all."""
        self.arrived.append(sequence)

    def received(self, sequence: Sequence) -> None:
        """Let a sequence decode from the next step on: its KV is here."""
        self.awaited_output_tokens -= sequence.final_context - sequence.remote
        sequence.computed, sequence.remote = sequence.remote, 0
        self.arrived.append(sequence)

    def fetch(self) -> None:
        """Take the blocks of those at the head of the queue whose KV is to come, while they fit.

        As in vLLM, while there is a place to run, beside what prompts already begun will take, and
        with room for the token that comes next.
        """
        limits = self.limits
        while self.waiting and self.waiting.head.remote and self.num_running < limits.max_num_seqs:
            sequence = self.waiting.head
            blocks = limits.blocks_for(sequence.remote + 1)
            if blocks + self._reserve() + self._promised() > self.pool.free:
                break
            self._leave_queue(sequence)
            self.pool.take(blocks)
            self.parked[sequence.request_id] = (sequence.remote + 1, [])
            self.fetching.append(sequence)
            self.awaited_output_tokens += sequence.final_context - sequence.remote

    def _promised(self) -> int:
        """Return the blocks that prompts already begun have yet to take."""
        blocks_for = self.limits.blocks_for
        return sum(
            max(0, blocks_for(s.target) - self._blocks_of(s))
            for lane in self.lanes
            for s in lane.prefilling
        )

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
        self.queued_blocks += -sequence.target // self.limits.block_size
        self.queued_tokens -= sequence.target
        self.queued_output_tokens -= sequence.final_context + 1 - sequence.target

    def _reserve(self) -> int:
        return self.limits.watermark_blocks if self.num_running else 0

    def _chunk(self, tokens: int, budget: int) -> int:
        threshold = self.limits.long_prefill_token_threshold
        if 0 < threshold < tokens and self.num_running + len(self.waiting) > 1:
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

    # -- blocks ---------------------------------------------------------------------------------

    def _blocks_with(self, sequence: Sequence, computed: int, tokens: int) -> int:
        """Return the blocks a sequence holds in a step of `tokens` tokens after `computed`."""
        del sequence
        return -(-(computed + tokens) // self.limits.block_size)

    def _blocks_of(self, sequence: Sequence) -> int:
        """Return the blocks of a running sequence that is in no decode group."""
        return self.limits.blocks_for(sequence.computed + sequence.granted)

    def _cached_head(self, sequence: Sequence) -> list[CachedBlock]:
        """Return the cached blocks a waiting sequence could start from; its last token is never."""
        if not self.pool.caching or not (sequence.prefix or sequence.preemptions):
            return []
        full = (sequence.target - 1) // self.limits.block_size
        return self.pool.find(sequence.block_key(block) for block in range(full))

    def _share(self, sequence: Sequence, tokens: int) -> None:
        """Make the full blocks of `tokens` tokens known, as far as others may ask for them."""
        held = sequence.held
        if not self.pool.caching or len(held) >= len(sequence.prefix):
            return
        full = min(tokens // self.limits.block_size, len(sequence.prefix))
        held.extend(self.pool.enter(sequence.prefix[block]) for block in range(len(held), full))

    def _retire(self, sequence: Sequence) -> None:
        """Free the blocks of a sequence that is done."""
        self._free_blocks(sequence.computed, sequence.held)
        sequence.held = []
        sequence.ticket = -1

    def _free_blocks(self, tokens: int, held: list[CachedBlock]) -> None:
        """Free the blocks of `tokens` tokens, of which some are known to others."""
        full, rest = divmod(tokens, self.limits.block_size)
        if rest:
            self.pool.give_back(1)
        self.pool.retire(full - len(held))
        if held:
            self.pool.release(reversed(held))

    def _let_go(self, sequence: Sequence, blocks: int) -> None:
        """Free the `blocks` blocks of a preempted sequence, keeping what it can come back to."""
        self._swap_out(sequence)
        held, full = sequence.held, 0
        if self.pool.caching:
            known = min(sequence.computed + sequence.granted, sequence.target)
            full = known // self.limits.block_size
        self.pool.give_back(blocks - max(full, len(held)))
        own = [self.pool.enter(sequence.block_key(block)) for block in range(len(held), full)]
        self.pool.release(reversed(held + own))
        sequence.held = []
        sequence.computed = 0

    def _swap_out(self, sequence: Sequence) -> None:
        blocks = self.limits.blocks_for(sequence.computed)
        if 0 < blocks <= self.host_blocks:
            self.host_blocks -= blocks
            self.moved_tokens += sequence.computed
            sequence.swapped = sequence.computed

    def _swap_in(self, sequence: Sequence, budget: int) -> tuple[Sequence, int] | None:
        computed = sequence.swapped
        decodes = computed == sequence.target - 1 and sequence.first_token >= 0
        tokens = self._chunk(sequence.target - computed, budget)
        if decodes:
            tokens = self.limits.decode_tokens
        blocks = self._blocks_with(sequence, computed, tokens)
        if tokens > budget or blocks + self._reserve() > self.pool.free:
            return None
        self._enter_running(sequence)
        self.pool.take(blocks)
        self.host_blocks += self.limits.blocks_for(computed)
        self.moved_tokens += computed
        sequence.computed, sequence.swapped = computed, 0
        self._share(sequence, min(computed + tokens, sequence.target))
        sequence.granted = tokens
        if decodes:
            self.decoding.join(sequence)
            self.resumed.append(sequence)
            return sequence, 0
        self.prefilling.append(sequence)
        return sequence, tokens

    # -- laws -----------------------------------------------------------------------------------

    def audit(self) -> None:
        """Check between two steps that what is kept lazily equals what the sequences say.

        Raises:
            SimulationError: naming the law that was broken.
        """
        running: list[Sequence] = []
        context: dict[int, int] = {}  # of decoding sequences
        given: dict[int, int] = {}  # tokens of the step in flight that have their blocks
        for lane in self.lanes:
            members = list(lane.running)
            running += members
            step = lane.decoding.step
            for sequence in members:
                if sequence not in lane.prefilling:
                    context[sequence.request_id] = sequence.computed + step - sequence.join_step
                    given[sequence.request_id] = int(lane.grown)
        shares = [(s.computed, s.held) for s in running] + list(self.parked.values())
        held = {id(block): block for _, blocks in shares for block in blocks}
        blocks = len(held)
        for tokens, known in self.parked.values():
            blocks += self.limits.blocks_for(tokens) - len(known)
        for sequence in running:
            tokens = context.get(sequence.request_id, sequence.computed)
            tokens += given.get(sequence.request_id, sequence.granted)
            blocks += self.limits.blocks_for(tokens) - len(sequence.held)
        laws = {
            "decoding sequences": (len(context), sum(lane.decoding.size for lane in self.lanes)),
            "decode context": (
                sum(context.values()),
                sum(lane.decoding.context for lane in self.lanes),
            ),
            "KV blocks in use": (blocks, self.pool.num_blocks - self.pool.free),
            "blocks awaited": (
                sum(self.limits.blocks_for(s.target) for s in self.waiting),
                self.queued_blocks,
            ),
        }
        for law, (expected, kept) in laws.items():
            if expected != kept:
                raise SimulationError(f"{law}: the sequences say {expected}, the engine {kept}")
        if self.num_running > self.limits.max_num_seqs:
            raise SimulationError(
                f"{self.num_running} sequences run; {self.limits.max_num_seqs} may"
            )

    def check_drained(self) -> None:
        """Raise if anything is left when no event is: a deadlock, or a lost block."""
        if self.has_work or self.pool.free != self.limits.num_blocks:
            left = [*self.waiting, *self.prefilling][:5]
            raise SimulationError(
                f"the simulation ended with {len(self.waiting)} sequences waiting, "
                f"{self.num_running} running and {self.pool.free} of {self.limits.num_blocks} "
                f"KV blocks free; first: {left}"
            )
