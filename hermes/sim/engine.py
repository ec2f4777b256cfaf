"""One LLM engine: the moves that a batching policy has, and what comes of a step.

The engine knows nothing of SimPy. A batching policy composes a `Batch` from the moves below; the
replica puts a duration on it and tells the engine when it has ended. Rules that carry vLLM's names
follow its v1 scheduler, version 0.33: KV blocks are taken only for the tokens of this step; a
waiting request is admitted when its whole known sequence would fit; when blocks run out a running
sequence loses its own and goes back to the queue.
"""

from __future__ import annotations

from hermes.sim.aborts import take_out
from hermes.sim.kv_cache import CachedBlock
from hermes.sim.lane import Batch
from hermes.sim.scheduler_state import SchedulerState
from hermes.sim.sequence import Sequence

__all__ = ["Engine"]


def _ticket(sequence: Sequence) -> int:
    return sequence.ticket


class Engine(SchedulerState):
    """One replica's scheduler; see `SchedulerState` for its arguments."""

    __slots__ = ()

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
            parked = self.holdings.parked[sequence.request_id]
            needed = blocks_for(sequence.computed + 1) - blocks_for(parked.slots)
            if needed > self.pool.free:
                break
            self.pool.take(needed)
            self.holdings.unpark(sequence)
            self._join(sequence)
            joined += 1
        return joined

    def _arrived_in_order(self) -> list[Sequence]:
        """Return those whose KV has come, in the order in which they were given blocks."""
        there = {sequence.request_id: sequence for sequence in self.arrived}
        return [there[request] for request in self.holdings.parked if request in there]

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
            self.holdings.share(sequence, done + tokens)
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
        return head.target - len(self.holdings.cached_head(head)) * self.limits.block_size

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
        head: list[CachedBlock] | tuple[()] = ()
        if sequence.prefix or sequence.preemptions:
            head = self.holdings.cached_head(sequence)
        reused = len(head) * limits.block_size
        computed = reused + self._fetched(sequence, reused)
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
        self._leave_queue(sequence)
        self._running.append(sequence)
        if head:
            pool.hold(head)
            sequence.held = list(head)
            if sequence.scheduled < 0:
                sequence.reused_tokens = reused
        sequence.computed = computed
        self.prefilling.append(sequence)
        pool.take(blocks - len(head))
        if sequence.prefix:
            self.holdings.share(sequence, computed + tokens)
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
        self._swap_out(sequence)
        self.holdings.let_go(sequence)
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

    def blocks_due(self, steps: int) -> int:
        """Return by how much the blocks in use rise in `steps` repetitions of the latest step."""
        return self.decoding.blocks_needed(steps, after=1)

    def blocks_freed(self, steps: int) -> int:
        """Return the blocks that running sequences free in `steps` repetitions of a step."""
        del steps
        return 0

    def run_alone(self) -> int:
        """Take the blocks of the next decode step, if decodes are all there is and have room.

        Returns:
            For how many steps they may go on with the blocks there are; 0 when anything else is to
            be done, and then no block was taken.
        """
        if self.waiting or self.prefilling or self.arrived or self._elsewhere:
            return 0
        decoding, pool = self.decoding, self.pool
        steps = decoding.stretch(pool.free)
        if steps:
            pool.take(decoding.next_blocks)
            self._lane.grown = True
        return steps

    # -- what a step did ------------------------------------------------------------------------

    def complete(self, batch: Batch, steps: int, now: int) -> list[Sequence]:
        """Book the end of `steps` steps of a batch at tick `now`; return the sequences that ended.

        Blocks of the first step were taken when the batch was formed; those of its repetitions are
        taken here.
        """
        self.steps += steps
        if batch.decodes:
            self._decode(steps)
        self._lane.grown = False
        if self.doomed:
            take_out(self, batch)
        finished = self.decoding.pop_finished() if batch.decodes else []
        for sequence, tokens in batch.prefills:
            sequence.granted = 0
            sequence.computed += tokens
            if sequence.computed == sequence.target:
                self.prefilling.remove(sequence)
                self._sampled(sequence, now, finished)
        if finished:
            self._retire(finished)
        return finished

    def ran(self, steps: int) -> list[Sequence]:
        """Book steps for which decodes had the engine for themselves; see `complete`."""
        self.steps += steps
        self._lane.grown = False
        blocks = self.decoding.run(steps)
        if blocks:
            self.pool.take(blocks)
        if self.doomed:
            take_out(self)
        finished = self.decoding.pop_finished()
        if finished:
            self._retire(finished)
        return finished

    def _retire(self, finished: list[Sequence]) -> None:
        if len(finished) > 1:
            finished.sort(key=_ticket)
        for sequence in finished:
            self.holdings.retire(sequence)
            sequence.ticket = -1
        self._running.tidy(self.decoding.size + len(self.prefilling))

    def _decode(self, steps: int) -> None:
        """Book decode steps, of which the first has its blocks."""
        blocks = self.decoding.run(steps)
        if blocks:
            self.pool.take(blocks)

    def _sampled(self, sequence: Sequence, now: int, finished: list[Sequence]) -> None:
        if sequence.first_token < 0:
            sequence.first_token = now
        else:
            self.waits_ended.append(now - sequence.last_token)
        sequence.last_token = now
        if sequence.computed == sequence.final_context:
            finished.append(sequence)
        elif sequence.hand_off:
            self.holdings.park(sequence)
            sequence.ticket = -1
            self.handed.append(sequence)
        else:
            self.decoding.join(sequence)

    # -- the end of it all ----------------------------------------------------------------------

    def lose_running(self, lane: int, latest: int) -> list[Sequence]:
        """Take everything from the running sequences of a lane, and return them.

        Args:
            lane: The lane.
            latest: Tick of the latest token of those that took part in its latest decode step.
        """
        self.enter(lane)
        lost = list(self._running)
        for sequence in lost:
            if sequence in self.prefilling:
                self.prefilling.remove(sequence)
            else:
                self._stop_decoding(sequence)
            self.holdings.let_go(sequence)
            sequence.ticket = -1
        for sequence in self.interrupted:
            if sequence.last_token < 0:
                sequence.last_token = latest
        self.interrupted.clear()
        self._lane.grown = False
        self._running.tidy(0)
        return lost

    def lose_others(self) -> list[Sequence]:
        """Take everything from the sequences that do not run, and return them; then it is as new.

        Those whose KV is on its way from here or to here are not returned, but those are whose KV
        has come.
        """
        lost = [*self.arrived, *self.waiting]
        while self.waiting:
            self._leave_queue(self.waiting.head)
        for sequence in lost:
            sequence.swapped = 0
        self.arrived.clear()
        self.awaited_output_tokens = self.moved_tokens = 0
        self.host_blocks = self.limits.swap_blocks
        self.holdings.lose_parked()
        self.pool.forget()
        self.enter(0)
        return lost

    # -- transfers ------------------------------------------------------------------------------

    def sent(self, sequence: Sequence) -> None:
        """Free the blocks of a sequence whose KV has arrived elsewhere."""
        self.holdings.sent(sequence)

    def keep(self, sequence: Sequence) -> None:
        """Let a sequence that was to be handed off decode here after all."""
        self.arrived.append(sequence)

    def abandon(self, sequence: Sequence) -> None:
        """Free the blocks of a sequence whose KV will not come after all."""
        self.awaited_output_tokens -= sequence.final_context - sequence.remote
        self.holdings.sent(sequence)

    def received(self, sequence: Sequence) -> None:
        """Let a sequence decode from the next step on: its KV is here."""
        self.awaited_output_tokens -= sequence.final_context - sequence.remote
        sequence.computed, sequence.remote = sequence.remote, 0
        self.arrived.append(sequence)
        if self.doomed:
            self._drop_arrived()

    def _drop_arrived(self) -> None:
        """Free the blocks of the doomed whose KV has come: nothing holds them any more."""
        for sequence in [s for s in self.arrived if s in self.doomed]:
            self.arrived.remove(sequence)
            self.doomed.remove(sequence)
            self.holdings.sent(sequence)

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
            self.holdings.reserve(sequence, sequence.remote + 1)
            self.fetching.append(sequence)
            self.awaited_output_tokens += sequence.final_context - sequence.remote

    def _promised(self) -> int:
        """Return the blocks that prompts already begun have yet to take."""
        blocks_for = self.limits.blocks_for
        return sum(
            max(0, blocks_for(s.target) - self.holdings.blocks_of(s))
            for lane in self.lanes
            for s in lane.prefilling
        )

    # -- blocks ---------------------------------------------------------------------------------

    def _fetched(self, sequence: Sequence, begin: int) -> int:
        """Return the tokens from `begin` on whose KV comes during the first step."""
        del sequence, begin
        return 0

    def _blocks_with(self, sequence: Sequence, computed: int, tokens: int) -> int:
        """Return the blocks a sequence holds in a step of `tokens` tokens after `computed`."""
        del sequence
        return -(-(computed + tokens) // self.limits.block_size)

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
        self.holdings.share(sequence, min(computed + tokens, sequence.target))
        sequence.granted = tokens
        if decodes:
            self.decoding.join(sequence)
            self.resumed.append(sequence)
            return sequence, 0
        self.prefilling.append(sequence)
        return sequence, tokens
