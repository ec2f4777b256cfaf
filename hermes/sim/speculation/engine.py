"""An engine whose decodes verify drafts; what vLLM's v1 scheduler, version 0.33, does with them.

A decode step computes the latest token of a sequence and its drafts. KV blocks are taken for all of
them, and for the lookahead where drafting itself writes to the cache; what rejected drafts leave
behind is not given back, and is used by the next step. A request of which a single token is left to
compute is padded to the size of a decode when no prompt runs beside it, and waits when that does
not fit the budget. What vLLM counts for a draft model beyond that, a further token of budget for
each sequence, is not counted here.
"""

from __future__ import annotations

from hermes.sim.engine import Engine
from hermes.sim.lane import Batch, Lane
from hermes.sim.limits import EngineLimits
from hermes.sim.queues import QueueOrder
from hermes.sim.sequence import Sequence
from hermes.sim.speculation.clocked_group import ClockedGroup
from hermes.sim.speculation.drawn_group import DrawnGroup
from hermes.sim.speculation.holdings import SlotHoldings

__all__ = ["SampledEngine", "SpeculativeEngine"]

_MOST_STEPS = 32  # at once: their durations are computed one by one, for naught after a cut


class SpeculativeEngine(Engine):
    """State of one replica's scheduler, with `expected` acceptance.

    Args:
        limits: Bounds of its batches and its cache.
        order: Which request is next, and which gives way.
        group: Holds the sequences that decode.
    """

    __slots__ = ("_padding", "_prompts_run", "_scheduled", "instant")

    decoding: ClockedGroup | DrawnGroup

    def __init__(
        self, limits: EngineLimits, order: QueueOrder, group: ClockedGroup | DrawnGroup
    ) -> None:
        super().__init__(limits, order)
        self.holdings = SlotHoldings(limits)
        self.pool = self.holdings.pool
        self.lanes[0].decoding = group
        self.enter(0)
        self.instant = 0  # tokens that came together with the one before, since last asked
        self._padding = 0  # of the sequence that is being admitted
        self._prompts_run = False  # prompts begun earlier are in the step being formed
        self._scheduled = False  # decodes are

    def rejection(self, prompt_tokens: int, output_tokens: int) -> str:
        """Return why a request can never be served here; see `Engine`."""
        limits = self.limits
        reason = super().rejection(prompt_tokens, output_tokens)
        most = prompt_tokens + output_tokens - 1 + limits.num_drafts + limits.lookahead
        if not reason and limits.blocks_for(min(most, limits.max_model_len)) > limits.num_blocks:
            return "exceeds_kv_cache"
        return reason

    # -- moves of a batching policy -------------------------------------------------------------

    def grow_decodes(self, budget: int | None = None, joining: bool = True) -> bool:
        """Take the blocks the next decode step needs; see `Engine`.

        Sequences whose KV has come join first, and are verified with the others. In a shortage
        sequences are asked one by one, as by vLLM: a victim frees several blocks that hold nothing,
        and which cached contents are evicted depends on who takes before that.
        """
        del budget, joining
        clock = self._clock
        clock.grown = clock.grown and clock.size > 0  # a step that held nothing never ended
        self._begin_growth()
        needed = clock.next_blocks
        short = needed > self.pool.free
        if short:
            for sequence in clock.members():
                self._grow_one(sequence)
        elif needed:
            self.pool.take(needed)
        clock.grow()
        self._lane.grown = True
        self._note_running()
        return short

    def _begin_growth(self) -> None:
        self._lane.grown = False
        places = self.limits.max_num_seqs - self.num_running
        for sequence in self._arrived_in_order()[:places]:
            sequence.slots = self.holdings.unpark(sequence).slots
            self._join(sequence)

    def join_arrived(self, most: int) -> int:
        """Let nobody join any more: those who could have done so in `grow_decodes`."""
        del most
        return 0

    def _grow_one(self, sequence: Sequence) -> None:
        clock = self._clock
        while sequence.ticket >= 0:
            needed = clock.blocks_of_next(sequence)
            if needed <= self.pool.free:
                self.pool.take(needed)
                clock.ahead.add(sequence.ticket)
                return
            self.preempt_one()

    def extend(self, sequence: Sequence, tokens: int) -> bool:
        """Take the blocks for `tokens` more prompt tokens; see `Engine`."""
        held = self.limits.blocks_for(sequence.slots)
        slots = self._reach(sequence.computed + tokens)
        needed = self.limits.blocks_for(slots) - held
        while needed > self.pool.free:
            if self.preempt_one() is sequence:
                return False
        self.pool.take(needed)
        sequence.slots = slots
        if sequence.prefix:
            self.holdings.share(sequence, sequence.computed + tokens)
        sequence.granted = tokens
        self._prompts_run = True
        return True

    def next_tokens(self) -> int:
        """Return the tokens the head of the queue still has to compute; see `Engine`."""
        tokens = super().next_tokens()
        if tokens == 1 and self.waiting.head.swapped and self.waiting.head.first_token >= 0:
            return self.limits.decode_tokens
        return tokens

    def admit(self, budget: int) -> tuple[Sequence, int] | None:
        """Admit the head of the queue, to compute up to `budget` tokens now; see `Engine`."""
        self._padding = self._pads()
        if self._padding and self._padding >= budget:
            return None
        admitted = super().admit(budget)
        if admitted is not None:
            admitted[0].granted += self._padding
        return admitted

    def _pads(self) -> int:
        """Return the drafts of nobody that the head of the queue is padded with."""
        limits = self.limits
        if (
            not self._lane.grown
            or self._prompts_run
            or not self.waiting
            or self.waiting.head.swapped
        ):
            return 0
        computed = self.waiting.head.target - 1
        if super().next_tokens() != 1 or not (self._scheduled or computed):
            return 0
        fits = computed + limits.decode_tokens + 1 <= limits.max_model_len
        return limits.num_drafts if fits else 0

    def repetitions(self, batch: Batch) -> int:
        """Return for how many steps a pure decode batch keeps its members; see `Engine`."""
        clock = self._clock
        more = min(clock.steps_to_finish(), batch.most_steps or _MOST_STEPS, _MOST_STEPS) - 1
        return 1 + clock.steps_within(self.pool.free, more, after=1)

    # -- what a step did ------------------------------------------------------------------------

    def complete(self, batch: Batch, steps: int, now: int) -> list[Sequence]:
        """Book the end of `steps` steps of a batch; see `Engine`."""
        clock, size = self._clock, self.decoding.size
        before = clock.step
        clock.grown = clock.grown and batch.decodes > 0
        finished = super().complete(batch, steps, now)
        if batch.decodes:
            self.instant += size * (clock.step - before - steps) - clock.surplus
            clock.surplus = 0
        return finished

    def _decode(self, steps: int) -> None:
        """Book decode steps, the first of which changes which blocks are taken next."""
        clock = self.decoding
        clock.advance(1)
        if steps > 1:
            self.pool.take(clock.blocks_needed(steps - 1))
            clock.advance(steps - 1)

    # -- blocks ---------------------------------------------------------------------------------

    @property
    def _clock(self) -> ClockedGroup:
        assert isinstance(self.decoding, ClockedGroup)
        return self.decoding

    def _reach(self, tokens: int) -> int:
        """Return the slots of a step after which `tokens` tokens are computed."""
        longest = self.limits.max_model_len  # which has room for the token that is sampled
        return min(min(tokens, longest - 1) + self.limits.lookahead, longest)

    def _note_running(self) -> None:
        self._scheduled = self.decoding.tokens > 0
        self._prompts_run = False

    def _blocks_with(self, sequence: Sequence, computed: int, tokens: int) -> int:
        sequence.slots = self._reach(computed + tokens + self._padding)
        return self.limits.blocks_for(sequence.slots)

    def _decode_slots(self, lane: Lane, sequence: Sequence) -> int:
        del lane
        return self.decoding.slots_of(sequence)

    def _stop_decoding(self, sequence: Sequence) -> None:
        taken = self._lane.grown or sequence.ticket in self._clock.ahead
        super()._stop_decoding(sequence)
        sequence.granted = self.limits.decode_tokens if taken else 0


class SampledEngine(SpeculativeEngine):
    """The same with `sampled` acceptance: drafts can also be cut by the budget, as in vLLM.

    Decodes get their tokens in the order of admission until the budget is spent, and the one on
    which it ends gets fewer drafts. Nearly at the longest context there is room for fewer, too.
    """

    __slots__ = ()

    def grow_decodes(self, budget: int | None = None, joining: bool = True) -> bool:
        """Give each decode its tokens and the blocks for them; see `Engine`."""
        del joining
        self._begin_growth()
        limits, preempted = self.limits, False
        left = limits.decode_tokens * self.decoding.size if budget is None else budget
        for sequence in list(self._drawn.members):
            if sequence.ticket < 0:
                continue  # preempted by one before it
            if left <= 0:
                break
            computed = sequence.computed
            tokens = min(limits.decode_tokens, left, limits.max_model_len - 1 - computed)
            slots = max(sequence.slots, self._reach(computed + tokens))
            needed = limits.blocks_for(slots) - limits.blocks_for(sequence.slots)
            while needed > self.pool.free and sequence.ticket >= 0:
                left += self.preempt_one().granted
                preempted = True
            if sequence.ticket >= 0:
                self.pool.take(needed)
                sequence.slots, sequence.granted = slots, tokens
                left -= tokens
        self._lane.grown = True
        self._note_running()
        return preempted

    def repetitions(self, batch: Batch) -> int:
        """Return 1: steps with draws are taken one by one."""
        del batch
        return 1

    def complete(self, batch: Batch, steps: int, now: int) -> list[Sequence]:
        """Book the end of a step; see `Engine`."""
        drawn = self._drawn
        drawn.now = now
        finished = Engine.complete(self, batch, steps, now)
        self.instant += drawn.instant
        drawn.instant = 0
        return finished

    @property
    def _drawn(self) -> DrawnGroup:
        assert isinstance(self.decoding, DrawnGroup)
        return self.decoding

    def _stop_decoding(self, sequence: Sequence) -> None:
        granted = sequence.granted
        Engine._stop_decoding(self, sequence)
        sequence.granted = granted

    def _swap_in(self, sequence: Sequence, budget: int) -> tuple[Sequence, int] | None:
        admitted = super()._swap_in(sequence, budget)
        if admitted is not None and not admitted[1]:
            room = self.limits.max_model_len - 1 - sequence.computed
            sequence.granted = min(sequence.granted, room)
        return admitted
