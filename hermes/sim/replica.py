"""A replica: an engine in simulated time, one SimPy process.

A step that nothing can disturb is not an event of its own: while the same sequences decode and
nobody who waits could be admitted, all steps up to the next finish or the next shortage of blocks
are one block of time. A request that arrives meanwhile cuts the block at the first step boundary
from then on, which is where it would have been seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from simpy import Event

from hermes.errors import SimulationError
from hermes.sim.aborts import take_out
from hermes.sim.block import Block, decode_block, one_step, steps_reaching, ticks_of
from hermes.sim.clock import Clock, Timer, begin_priority
from hermes.sim.engine import Engine
from hermes.sim.lane import Batch
from hermes.sim.laws import audit
from hermes.sim.replica_setup import Observer, ReplicaListener, ReplicaSetup
from hermes.sim.replica_tiers import ReplicaTiers
from hermes.sim.sequence import Sequence
from hermes.sim.step_log import StepLog

__all__ = ["Observer", "Replica", "ReplicaListener", "ReplicaSetup"]

_MOST_BARREN_STEPS = 1_000_000


class Replica(ReplicaTiers):
    """One engine instance and the process that steps it.

    Args:
        env: The SimPy environment; its time is integer ticks.
        index: Its number among all replicas; settles what shares a tick.
        setup: What it is made of.
        listener: Hears what becomes of its sequences.
    """

    one_batch_at_a_time: ClassVar[bool] = True
    """Whether a step begins when the one before has ended, and no other replica has a say."""

    def __init__(
        self,
        env: Clock,
        index: int,
        setup: ReplicaSetup,
        listener: ReplicaListener,
    ) -> None:
        super().__init__(env, index, setup.engine)
        self.step_log = StepLog()
        self._note_steps = self.step_log.note()
        self.steps = 0
        self.busy_ticks = 0
        self.computed_tokens = 0
        self.up = True  # it can be sent sequences
        self.accepting = True  # it is to be sent any
        self.on_empty: Callable[[], None] | None = None  # called when it is, perhaps more than once
        self._policy = setup.policy
        self.costs = setup.costs
        self._move_ticks = setup.move_ticks
        self._listener = listener
        self._layerwise = setup.layerwise
        self.front_end_ticks = setup.front_end_ticks
        self._observer = setup.observer
        self._fast_forward = setup.fast_forward
        self._check = setup.check
        self._begin = begin_priority(index)
        self._idle = True  # until somebody comes
        self._batch = Batch()
        self._alone = Batch(repeatable=True)
        self._direct = (
            self.one_batch_at_a_time
            and setup.fast_forward
            and setup.observer is None
            and type(setup.engine) is Engine
            and setup.policy.lets_decodes_run
        )
        self._begins = Timer(env, self._on_begin)
        self._barren_steps = 0  # since a token was sampled

    # -- what others see ------------------------------------------------------------------------

    def submit(self, sequence: Sequence) -> None:
        """Queue a sequence; it is seen at the next step boundary, or now if the replica idles."""
        self.engine.submit(sequence)
        if self._idle or self.engine.waiting.head is sequence:
            self.disturb()

    def abort(self, sequence: Sequence) -> None:
        """Take a sequence out at the next step boundary, or now if no step is under way.

        Nobody hears of it again, though it finish in that step. One that has gone, or was never
        here, is left alone. KV on its way keeps its blocks until it has come (see `HandOff.abort`
        for a sequence that is handed on).
        """
        if sequence.ticket < 0 and not self.engine.knows(sequence):
            return
        self.engine.doomed.append(sequence)
        if self._stepping:
            if self._block_steps > 1:
                self._cut_block()
            return
        self._drop_stalled()
        take_out(self.engine)
        if self._idle and self.engine.has_work:
            self._wake()

    @property
    def _stepping(self) -> bool:
        """Whether a step is under way."""
        return self._block_steps > 0

    def disturb(self) -> None:
        """Look at the queue again at the next step boundary, or now if the replica idles."""
        if self._idle:
            if self.engine.has_work:
                self._wake()
        elif self._block_steps > 1:
            engine = self.engine
            if engine.arrived or (engine.waiting and self._policy.could_admit(engine)):
                self._cut_block()

    # -- the process ----------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Begin the next step, once all else of this tick has happened."""
        if self._env.more_now():
            if self.engine.has_work:
                self._begins.set(0, self._begin)
            else:
                self._idle = True
        elif not (self._direct and self._step_alone()):
            if not self.engine.has_work:
                self._idle = True
            elif self.one_batch_at_a_time:
                self._step_formed()
            else:
                self._step()

    def _wake(self) -> None:
        """Begin a step once all else of this tick has happened."""
        self._begins.set(0, self._begin)
        self._idle = False

    def _on_begin(self, _: Event) -> None:
        if self.engine.has_work:
            self._step()
        else:
            self._idle = True  # what was to begin has been aborted

    def _step(self) -> None:
        """Begin a step, if anything can run."""
        if not (self._direct and self._step_alone()):
            self._step_formed()

    def _step_formed(self) -> None:
        """Begin a step of the batch that the policy forms, if anything can run."""
        batch = self._batch = self._form()
        if not (batch.decodes or batch.prefills):
            self._idle = True  # all that waits, waits for KV to come or go
            return
        self._block, self._block_steps, ticks = self._durations(batch)
        self._block_start = self._env._now
        self._block_decodes = batch.decodes > 0
        self._ends.set(ticks, self._end)
        if self._layerwise:
            self._announce_prompts(batch, self._env.now + ticks)

    def _step_alone(self) -> bool:
        """Begin a block of nothing but decodes; whether that is all that is to be done.

        Asks no policy: what it promises of `repeatable` batches says what it would answer.
        """
        steps = self.engine.run_alone()
        if not steps:
            return False
        env, batch, decoding = self._env, self._alone, self.engine.decoding
        batch.decodes = decoding.size
        self._batch = batch
        self._block, self._block_steps, ticks = decode_block(
            self.costs, decoding.size, decoding.context, steps
        )
        self._block_start = env._now
        self._block_decodes = True
        self._ends.set(ticks, self._end)
        return True

    def _on_end(self, _: Event) -> None:
        """Book the block that has ended, and go on."""
        if self._batch is self._alone:
            self._finish_alone(self._env._now)
        elif self._tiers is not None and not self._layers_have_come(self._tiers):
            return
        else:
            self._finish_block(self._batch, self._env._now)
        self._go_on()

    def _finish_alone(self, now: int) -> None:
        """Book a block that was begun by `_step_alone`; what `_finish_block` does with less."""
        steps = self._block_steps
        self.steps += steps
        self.busy_ticks += now - self._block_start
        decodes = self._alone.decodes
        self.computed_tokens += decodes * steps
        self._note_steps((decodes, self.engine.decoding.context, 0, 0, 0, steps))
        block = self._block
        if len(block) == 1 and not (self._stalled or self.engine.doomed):
            self._log((block[0][1], block[0][2], steps, decodes))
        else:
            self._log_gaps(self._alone, steps)
        self._block_steps = 0
        if self._early_blocks:
            self._return_early_blocks()
        finished = self.engine.ran(steps)
        if self._check:
            audit(self.engine)
        for sequence in finished:
            self._listener.finished(self, sequence, now)

    def _begin_fetches(self) -> None:
        """Let the KV flow that sequences have just been given blocks for."""
        for sequence in self.engine.fetching:
            if sequence.remote or self._tiers is None:
                self._listener.fetching(self, sequence)
            else:
                self._tiers.fetch(sequence)
        self.engine.fetching.clear()

    def _announce_prompts(self, batch: Batch, end: int) -> None:
        for sequence, tokens in batch.prefills:
            if sequence.hand_off and sequence.computed + tokens == sequence.target:
                self._listener.finishing_prompt(self, sequence, self._env.now, end)

    def _form(self) -> Batch:
        engine = self.engine
        batch = self._policy.form(engine)
        if not (batch.decodes or batch.prefills):
            batch = self._policy.form(engine)
        if engine.waiting and not engine.preempted:
            engine.fetch()
        if engine.fetching:
            self._begin_fetches()
        if self._tiers is not None:
            self._write_evicted()
        if not (batch.decodes or batch.prefills or self._may_form_nothing()):
            raise SimulationError(
                f"replica {self.index} has work but {type(self._policy).__name__} forms no batch; "
                f"waiting: {list(self.engine.waiting)[:3]}"
            )
        now = self._env._now
        for sequence, _ in batch.prefills:
            if sequence.scheduled < 0:
                sequence.scheduled = now
            elif sequence.lost >= 0:
                sequence.end_preemption(now)
        if engine.preempted or engine.resumed:
            self._note_preemptions(now)
        if self._observer is not None and batch:
            self._observer(self, now, batch)
        return batch

    def _may_form_nothing(self) -> bool:
        """Whether it is in order that nothing can run: all that waits, waits for a transfer."""
        return bool(self.engine.holdings.parked) or not self.engine.has_work

    def _durations(self, batch: Batch) -> Block:
        engine = self.engine
        if batch.prefills:
            block = one_step(self._mixed_ticks(batch))
        else:
            alike = batch.repeatable and self._fast_forward and not engine.moved_tokens
            steps = engine.repetitions(batch) if alike else 1
            block = decode_block(self.costs, batch.decodes, engine.decoding.context, steps)
        if engine.moved_tokens:
            block = one_step(block[2] + self._move_ticks(engine.moved_tokens))
            engine.moved_tokens = 0
        return block

    def _mixed_ticks(self, batch: Batch) -> int:
        decoding = self.engine.decoding
        tokens = context = pairs = rows = 0
        for sequence, chunk in batch.prefills:
            done = sequence.computed
            tokens += chunk
            context += done
            pairs += chunk * done + chunk * (chunk + 1) // 2
            rows += done + chunk == sequence.target
        decode_context = decoding.context if batch.decodes else 0
        self._note_steps((batch.decodes, decode_context, tokens, context, pairs, 1))
        return self.costs.step_ticks(
            batch.decodes, decode_context, tokens, context, pairs, rows + batch.decodes
        )

    def _finish_block(self, batch: Batch, now: int) -> None:
        steps, decodes = self._block_steps, batch.decodes
        self.steps += steps
        self.busy_ticks += now - self._block_start
        self.computed_tokens += decodes * steps
        for _, tokens in batch.prefills:
            self.computed_tokens += tokens
        if not batch.prefills:
            self._note_steps((decodes, self.engine.decoding.context, 0, 0, 0, steps))
        self._log_gaps(batch, steps)
        self._block_steps = 0
        if self._early_blocks:
            self._return_early_blocks()
        self._book(batch, steps, now)

    def _book(self, batch: Batch, steps: int, now: int) -> None:
        """Tell the engine that a batch's steps have ended, and the listener what came of it."""
        finished = self.engine.complete(batch, steps, now)
        if self._tiers is not None:
            self._write_back(self._tiers, finished)
        if batch.prefills:
            self._log_prefill_end(batch, now)
            self._require_progress(batch)
        if self._check:
            audit(self.engine)
        for sequence in finished:
            self._listener.finished(self, sequence, now)
        if self.engine.handed:
            for sequence in self.engine.handed:
                self._listener.prefilled(self, sequence, now)
            self.engine.handed.clear()

    def _require_progress(self, batch: Batch) -> None:
        """Raise when sequences do nothing but take KV blocks from each other."""
        if batch.decodes or any(s.computed == s.target for s, _ in batch.prefills):
            self._barren_steps = 0
            return
        self._barren_steps += 1
        if self._barren_steps > _MOST_BARREN_STEPS:
            raise SimulationError(
                f"replica {self.index} sampled no token in {_MOST_BARREN_STEPS:,} steps: requests "
                "preempt each other in turn, for ever, as they would in vLLM; leave "
                "scheduler_reserve_full_isl on, or give the replica more KV blocks"
            )

    # -- outages --------------------------------------------------------------------------------

    def withdraw(self, sequence: Sequence) -> bool:
        """Take a sequence out of the queue; return false when it does not wait there."""
        if sequence.ticket >= 0 or sequence not in self.engine.waiting:
            return False
        self.engine.withdraw(sequence)
        self.disturb()  # whoever is next may fit
        self.settle()
        return True

    @property
    def empty(self) -> bool:
        """Whether nothing is here, nor on its way from here or to here."""
        engine = self.engine
        return not (engine.has_work or engine.holdings.parked)

    def settle(self) -> None:
        """Tell whoever waits for it to be empty, if it is."""
        if self.on_empty is not None and self.empty:
            self.on_empty()

    def busy_until(self, now: int) -> int:
        """Return the ticks it has computed before `now`, the step under way included."""
        return self.busy_ticks + (now - self._block_start if self._block_steps else 0)

    def crash(self) -> list[Sequence]:
        """Stop at once, with a cold cache; return the sequences that were here.

        Steps that ended before now count, and the one under way is lost, whether or not it ends at
        this very tick. Sequences whose KV is on its way from here or to here are not returned.
        """
        now, engine = self._env.now, self.engine
        self._fall_silent()
        self._forget_loads()
        latest = self._latest_tokens(self._drop_step(now))
        lost = []
        for lane, tick in enumerate(latest):
            lost += engine.lose_running(lane, tick)
        lost += engine.lose_others()
        lost = [sequence for sequence in lost if sequence not in engine.doomed]
        engine.doomed.clear()
        self._stalled.clear()
        for sequence in lost:
            sequence.begin_preemption(now)
        return lost

    def _fall_silent(self) -> None:
        """Forget what is to happen next, and wait until somebody comes."""
        for timer in (self._ends, self._begins):
            if timer.callbacks:
                timer.callbacks = []
        self._ends = Timer(self._env, self._on_end)
        self._begins = Timer(self._env, self._on_begin)
        self._idle = True

    def _drop_step(self, now: int) -> int:
        """Book the steps that ended before `now`; return the tick at which the next one began."""
        if not self._block_steps:
            return now
        begun = self._block_start
        steps, _ = steps_reaching(self._block, now - begun)
        if steps > 1:
            self._block_steps = steps - 1
            begun += ticks_of(self._block, steps - 1)
            if self._batch is self._alone:
                self._finish_alone(begun)
            else:
                self._finish_block(self._batch, begun)
        elif self._early_blocks:
            self._return_early_blocks()
        self._block_steps = 0
        self.busy_ticks += now - begun
        return begun

    def _latest_tokens(self, begun: int) -> list[int]:
        """Return, by lane, when decodes got their latest token; the step under way began then."""
        return [self._latest_decode(begun)]

    # -- cutting a block ------------------------------------------------------------------------

    def _cut_block(self) -> None:
        passed = self._env._now - self._block_start
        steps, ticks = steps_reaching(self._block, passed)
        if steps < 1:
            steps, ticks = 1, self._block[0][1]
        if steps < self._block_steps:
            self._block_steps = steps
            self._ends = self._ends.moved(ticks - passed, self._end)
