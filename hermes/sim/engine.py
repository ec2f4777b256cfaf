"""One LLM engine: its queue, its running sequences, its KV blocks, and the moves a policy has.

The engine knows nothing of time or SimPy. A batching policy composes a `Batch` from the moves
below; the replica puts a duration on it and tells the engine when it has ended. Rules that carry
vLLM's names follow its v1 scheduler, version 0.33: KV blocks are taken only for the tokens of this
step; a waiting request is admitted when its whole known sequence would fit; when blocks run out the
request admitted last loses its own and goes back to the head of the queue, to be recomputed.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from hermes.errors import SimulationError
from hermes.sim.decode_group import DecodeGroup
from hermes.sim.sequence import Sequence

__all__ = ["Batch", "Engine", "EngineLimits"]


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What bounds a replica's batches and its cache; names as in vLLM."""

    max_num_seqs: int
    max_num_batched_tokens: int
    block_size: int
    num_blocks: int  # usable: without the null block
    watermark_blocks: int
    max_model_len: int


@dataclass(slots=True)
class Batch:
    """What one step computes: one token of every decoding sequence, and chunks of prompts."""

    decodes: int = 0
    prefills: list[tuple[Sequence, int]] = field(default_factory=list)
    repeatable: bool = (
        False  # the next step would be alike until a finish, a shortage or an arrival
    )

    def __bool__(self) -> bool:
        return self.decodes > 0 or bool(self.prefills)


class Engine:
    """State of one replica's scheduler."""

    __slots__ = (
        "_running",
        "_tickets",
        "decoding",
        "free_blocks",
        "limits",
        "preempted",
        "prefilling",
        "waiting",
    )

    def __init__(self, limits: EngineLimits) -> None:
        self.limits = limits
        self.waiting: deque[Sequence] = deque()
        self.prefilling: list[Sequence] = []  # admitted, prompt not yet computed; oldest first
        self.decoding = DecodeGroup(limits.block_size)
        self.free_blocks = limits.num_blocks
        self.preempted: list[Sequence] = []  # since whoever forms batches last emptied it
        self._running: list[tuple[int, Sequence]] = []  # in order of admission, with dead entries
        self._tickets = 0

    @property
    def num_running(self) -> int:
        """Sequences admitted and not done."""
        return self.decoding.size + len(self.prefilling)

    @property
    def has_work(self) -> bool:
        """Whether a step could compute anything."""
        return bool(self.waiting) or self.decoding.size > 0 or bool(self.prefilling)

    def rejection(self, prompt_tokens: int, output_tokens: int) -> str:
        """Return why a request can never be served here, or an empty string."""
        if prompt_tokens + output_tokens > self.limits.max_model_len:
            return "exceeds_max_model_len"
        if self.blocks_for(prompt_tokens + output_tokens - 1) > self.limits.num_blocks:
            return "exceeds_kv_cache"
        return ""

    def blocks_for(self, tokens: int) -> int:
        """Return the blocks that hold `tokens` tokens."""
        return -(-tokens // self.limits.block_size)

    # -- moves of a batching policy -------------------------------------------------------------

    def can_admit(self, sequence: Sequence) -> bool:
        """Whether the whole known sequence fits, above the watermark if others are running."""
        if self.num_running >= self.limits.max_num_seqs:
            return False
        reserve = self.limits.watermark_blocks if self.num_running else 0
        return self.blocks_for(sequence.target) + reserve <= self.free_blocks

    def admit_next(self) -> Sequence:
        """Move the head of the queue to the running sequences."""
        sequence = self.waiting.popleft()
        sequence.ticket = self._tickets
        self._tickets += 1
        self._running.append((sequence.ticket, sequence))
        self.prefilling.append(sequence)
        return sequence

    def extend(self, sequence: Sequence, tokens: int) -> bool:
        """Take the blocks for `tokens` more prompt tokens; preempt from the tail if short.

        Returns:
            Whether the sequence may run; false when it was itself preempted.
        """
        needed = self.blocks_for(sequence.computed + tokens) - self.blocks_for(sequence.computed)
        while needed > self.free_blocks:
            if self.preempt_last() is sequence:
                return False
        self.free_blocks -= needed
        return True

    def grow_decodes(self) -> bool:
        """Take the blocks the next decode step needs; preempt from the tail while short.

        vLLM walks the running list and preempts the tail whenever one request finds no block; what
        remains at the end is the longest head of the list whose needs are met, which is what this
        computes without the walk.

        Returns:
            Whether any sequence was preempted.
        """
        preempted = False
        while (needed := self.decoding.blocks_needed()) > self.free_blocks:
            self.preempt_last()
            preempted = True
        self.free_blocks -= needed
        return preempted

    def preempt_last(self) -> Sequence:
        """Take everything from the sequence admitted last and put it at the head of the queue."""
        ticket, sequence = self._running.pop()
        while sequence.ticket != ticket:
            ticket, sequence = self._running.pop()
        if self.prefilling and self.prefilling[-1] is sequence:
            self.prefilling.pop()
        else:
            self.decoding.leave(sequence)
            sequence.target = sequence.computed + 1
        self.free_blocks += self.blocks_for(sequence.computed)
        sequence.computed = 0
        sequence.ticket = -1
        sequence.preemptions += 1
        self.preempted.append(sequence)
        self.waiting.appendleft(sequence)
        return sequence

    def repetitions(self) -> int:
        """Return for how many steps a pure decode batch, just formed, keeps its members and blocks.

        The first of them has its blocks already.
        """
        decoding = self.decoding
        more = decoding.steps_to_finish() - 1
        return 1 + decoding.steps_within(self.free_blocks, more, after=1)

    # -- what a step did ------------------------------------------------------------------------

    def complete(self, batch: Batch, steps: int, now: int) -> list[Sequence]:
        """Book the end of `steps` steps of a batch at tick `now`; return the sequences that ended.

        Blocks of the first step were taken when the batch was formed; those of its repetitions are
        taken here.
        """
        finished: list[Sequence] = []
        if batch.decodes:
            decoding = self.decoding
            decoding.advance(1)
            if steps > 1:
                self.free_blocks -= decoding.blocks_needed(steps - 1)
                decoding.advance(steps - 1)
            finished = decoding.pop_finished()
        for sequence, tokens in batch.prefills:
            sequence.computed += tokens
            if sequence.computed == sequence.target:
                self.prefilling.remove(sequence)
                self._sampled(sequence, now, finished)
        for sequence in finished:
            self.free_blocks += self.blocks_for(sequence.computed)
            sequence.ticket = -1
        if len(self._running) > 2 * self.num_running + 64:
            self._running = [entry for entry in self._running if entry[0] == entry[1].ticket]
        return finished

    def _sampled(self, sequence: Sequence, now: int, finished: list[Sequence]) -> None:
        if sequence.first_token < 0:
            sequence.first_token = now
        if sequence.computed == sequence.final_context:
            finished.append(sequence)
        else:
            self.decoding.join(sequence)

    def check_drained(self) -> None:
        """Raise if anything is left when no event is: a deadlock, or a lost block."""
        if self.has_work or self.free_blocks != self.limits.num_blocks:
            left = [*self.waiting, *self.prefilling][:5]
            raise SimulationError(
                f"the simulation ended with {len(self.waiting)} sequences waiting, "
                f"{self.num_running} running and {self.free_blocks} of {self.limits.num_blocks} "
                f"KV blocks free; first: {left}"
            )
