"""A replica: an engine in simulated time, one SimPy process.

A step that nothing can disturb is not an event of its own: while the same sequences decode and
nobody who waits could be admitted, all steps up to the next finish or the next shortage of blocks
are one block of time. A request that arrives meanwhile cuts the block at the first step boundary
from then on, which is where it would have been seen.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Iterable
from dataclasses import dataclass
from typing import Protocol

from simpy import Event

from hermes.costs.step import StepCost
from hermes.errors import SimulationError
from hermes.metrics.gaps import TokenGaps
from hermes.sim.batching import BatchingPolicy
from hermes.sim.block import Block, Run, decode_block, one_step, steps_reaching, ticks_of
from hermes.sim.clock import Alarm, Clock, begin_priority, end_priority
from hermes.sim.engine import Engine
from hermes.sim.lane import Batch
from hermes.sim.laws import audit
from hermes.sim.sequence import Sequence

__all__ = ["Observer", "Replica", "ReplicaListener", "ReplicaSetup"]


_MOST_BARREN_STEPS = 1_000_000


@dataclass(frozen=True, slots=True)
class ReplicaSetup:
    """What a replica is made of.

    Attributes:
        engine: The scheduler state.
        policy: Forms the batches.
        costs: Puts a duration on them.
        move_ticks: Ticks to move the KV of so many tokens to or from host memory.
        fast_forward: Whether undisturbed steps are taken as one event; the results are the same.
        check: Whether the engine's laws are checked after every block of steps.
        layerwise: Whether KV leaves layer by layer, during the step that ends a prompt.
        front_end_ticks: What the serving front end adds to each request.
        observer: Is shown every batch that is formed.
    """

    engine: Engine
    policy: BatchingPolicy
    costs: StepCost
    move_ticks: Callable[[int], int]
    fast_forward: bool = True
    check: bool = False
    layerwise: bool = False
    front_end_ticks: int = 0
    observer: Observer | None = None


class ReplicaListener(Protocol):
    """Who hears what becomes of a replica's sequences."""

    def finished(self, replica: Replica, sequence: Sequence, now: int) -> None:
        """Hear that a sequence sampled its last token."""

    def prefilled(self, replica: Replica, sequence: Sequence, now: int) -> None:
        """Hear that a sequence sampled its first token and goes on elsewhere."""

    def finishing_prompt(self, replica: Replica, sequence: Sequence, begin: int, end: int) -> None:
        """Hear in which step a prompt will be done whose KV is sent layer by layer."""

    def fetching(self, replica: Replica, sequence: Sequence) -> None:
        """Hear that a sequence has blocks for the KV that is to come."""


Observer = Callable[["Replica", int, Batch], None]
"""Sees a replica, the tick at which its step begins, and the step's batch; must change nothing."""


class Replica:
    """One engine instance and the process that steps it.

    Args:
        env: The SimPy environment; its time is integer ticks.
        index: Its number among all replicas; settles what shares a tick.
        setup: What it is made of.
        listener: Hears what becomes of its sequences.
    """

    def __init__(
        self,
        env: Clock,
        index: int,
        setup: ReplicaSetup,
        listener: ReplicaListener,
    ) -> None:
        self.index = index
        self.engine = setup.engine
        self.gaps = TokenGaps()
        self.steps = 0
        self.busy_ticks = 0
        self.computed_tokens = 0
        self.up = True  # it can be sent sequences
        self.accepting = True  # it is to be sent any
        self.on_empty: Callable[[], None] | None = None  # called when it is, perhaps more than once
        self._env = env
        self._policy = setup.policy
        self.costs = setup.costs
        self._move_ticks = setup.move_ticks
        self._listener = listener
        self._layerwise = setup.layerwise
        self.front_end_ticks = setup.front_end_ticks
        self._observer = setup.observer
        self._fast_forward = setup.fast_forward
        self._check = setup.check
        self._end, self._begin = end_priority(index), begin_priority(index)
        self._idle: Alarm | None = None
        self._alarm: Alarm | None = None  # the end of the block under way
        self._batch = Batch()  # of the block under way
        self._block: tuple[Run, ...] = ()
        self._block_steps = 0
        self._block_start = 0
        self._block_decodes = False  # the block under way holds a step of the decodes
        self._early_blocks = 0  # that were taken for the block under way before it ends
        self._barren_steps = 0  # since a token was sampled
        self._stalled: list[tuple[int, int]] = []  # (tick of latest token, sequences) while waiting
        self._process = env.process(self._run())

    # -- what others see ------------------------------------------------------------------------

    def submit(self, sequence: Sequence) -> None:
        """Queue a sequence; it is seen at the next step boundary, or now if the replica idles."""
        self.engine.submit(sequence)
        if self._idle is not None or self.engine.waiting.head is sequence:
            self.disturb()

    def disturb(self) -> None:
        """Look at the queue again at the next step boundary, or now if the replica idles."""
        if self._idle is not None:
            if self.engine.has_work:
                self._idle.set(0, self._begin)
                self._idle = None
        elif self._block_steps > 1:
            engine = self.engine
            if engine.arrived or (engine.waiting and self._policy.could_admit(engine)):
                self._cut_block()

    def outstanding_requests(self) -> int:
        """Requests queued or running."""
        return len(self.engine.waiting) + self.engine.num_running

    def committed_blocks(self, now: int) -> int:
        """KV blocks in use, and those the queue will need for what it is known to hold.

        Counts the steps that ended before `now`, so it does not depend on how steps are grouped.
        """
        blocks = self.least_committed_blocks()
        if self._block_steps > 1:
            blocks += self._blocks_due(now)
        return blocks

    def least_committed_blocks(self) -> int:
        """Committed blocks without those taken by steps that passed unnoticed: a lower bound."""
        engine = self.engine
        return engine.limits.num_blocks - engine.pool.free + engine.queued_blocks

    def running_decodes(self) -> int:
        """Requests that decode, or will from the next step on."""
        engine = self.engine
        return sum(lane.decoding.size for lane in engine.lanes) + len(engine.arrived)

    def decode_context(self, now: int) -> int:
        """Context tokens of the requests that decode, with the step under way at `now`."""
        context = sum(lane.decoding.context for lane in self.engine.lanes)
        return context + self._gained(now)

    def remaining_output_tokens(self, now: int) -> int:
        """Output tokens that its requests have yet to get after the step under way at `now`."""
        return self.engine.remaining_output_tokens() - self._gained(now)

    def cached_blocks(self, keys: Iterable[Hashable], now: int) -> int:
        """Return how many blocks of a prompt, given by their keys from its start, are cached.

        Evicts first what the steps that passed unnoticed have evicted.
        """
        pool = self.engine.pool
        if not pool.caching:
            return 0
        self._settle_blocks(now)
        return len(pool.find(keys))

    # -- the process ----------------------------------------------------------------------------

    def _run(self) -> Generator[Event, None, None]:
        env, engine = self._env, self.engine
        while True:
            if not engine.has_work:
                yield self._idling()
            elif env.peek() == env.now:
                yield Alarm(env).set(0, self._begin)  # let all else of this tick happen first
            batch = self._batch = self._form()
            if not batch:
                yield self._idling()  # all that waits, waits for KV to come or go
                continue
            self._block, self._block_steps, ticks = self._durations(batch)
            self._block_start = env.now
            self._block_decodes = batch.decodes > 0
            self._alarm = Alarm(env).set(ticks, self._end)
            if self._layerwise:
                self._announce_prompts(batch, env.now + ticks)
            yield self._alarm
            self._finish_block(batch, env.now)

    def _idling(self) -> Alarm:
        self._idle = Alarm(self._env)
        return self._idle

    def _announce_prompts(self, batch: Batch, end: int) -> None:
        for sequence, tokens in batch.prefills:
            if sequence.hand_off and sequence.computed + tokens == sequence.target:
                self._listener.finishing_prompt(self, sequence, self._env.now, end)

    def _form(self) -> Batch:
        engine = self.engine
        batch = self._policy.form(engine) or self._policy.form(engine)
        if not engine.preempted:
            engine.fetch()
        for sequence in engine.fetching:
            self._listener.fetching(self, sequence)
        engine.fetching.clear()
        if not batch and not self._may_form_nothing():
            raise SimulationError(
                f"replica {self.index} has work but {type(self._policy).__name__} forms no batch; "
                f"waiting: {list(self.engine.waiting)[:3]}"
            )
        now = self._env.now
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
            block = one_step(block.ticks + self._move_ticks(engine.moved_tokens))
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
        return self.costs.step_ticks(
            batch.decodes, decode_context, tokens, context, pairs, rows + batch.decodes
        )

    def _finish_block(self, batch: Batch, now: int) -> None:
        steps = self._block_steps
        self.steps += steps
        self.busy_ticks += now - self._block_start
        self.computed_tokens += batch.decodes * steps
        for _, tokens in batch.prefills:
            self.computed_tokens += tokens
        self._log_gaps(batch, steps)
        self._block_steps = 0
        if self._early_blocks:
            self.engine.pool.give_back(self._early_blocks)  # to be taken again in a moment
            self._early_blocks = 0
        self._book(batch, steps, now)

    def _book(self, batch: Batch, steps: int, now: int) -> None:
        """Tell the engine that a batch's steps have ended, and the listener what came of it."""
        finished = self.engine.complete(batch, steps, now)
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
        if not self.engine.withdraw(sequence):
            return False
        self.disturb()  # whoever is next may fit
        self.settle()
        return True

    def crash(self) -> list[Sequence]:
        """Stop at once, with a cold cache; return the sequences that were here.

        Steps that ended before now count, and the one under way is lost, whether or not it ends at
        this very tick. Sequences whose KV is on its way from here or to here are not returned.
        """
        now = self._env.now
        self._fall_silent()
        latest = self._latest_tokens(self._drop_step(now))
        lost = []
        for lane, tick in enumerate(latest):
            lost += self.engine.lose_running(lane, tick)
        lost += self.engine.lose_others()
        self._stalled.clear()
        for sequence in lost:
            sequence.begin_preemption(now)
        return lost

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

    def restart(self) -> None:
        """Take requests again."""
        self._process = self._env.process(self._run())

    def _fall_silent(self) -> None:
        """Forget what the process waits for, so that it never goes on."""
        for event in (self._process.target, self._alarm):
            if event is not None and event.callbacks:
                event.callbacks = []
        self._idle = self._alarm = None

    def _drop_step(self, now: int) -> int:
        """Book the steps that ended before `now`; return the tick at which the next one began."""
        if not self._block_steps:
            return now
        begun = self._block_start
        steps, _ = steps_reaching(self._block, now - begun)
        if steps > 1:
            self._block_steps = steps - 1
            begun += ticks_of(self._block, steps - 1)
            self._finish_block(self._batch, begun)
        elif self._early_blocks:
            self.engine.pool.give_back(self._early_blocks)
            self._early_blocks = 0
        self._block_steps = 0
        self.busy_ticks += now - begun
        return begun

    def _latest_tokens(self, begun: int) -> list[int]:
        """Return, by lane, when decodes got their latest token; the step under way began then."""
        return [self._latest_decode(begun)]

    # -- cutting a block ------------------------------------------------------------------------

    def _cut_block(self) -> None:
        passed = self._env.now - self._block_start
        steps, ticks = steps_reaching(self._block, passed)
        steps, ticks = max((steps, ticks), (1, self._block[0].first))
        if steps < self._block_steps and self._alarm is not None:
            self._block_steps = steps
            self._alarm = self._alarm.moved(ticks - passed, self._end)

    def _settle_blocks(self, now: int) -> None:
        """Take the blocks of the steps that ended before `now`, not only when the block ends."""
        if self._block_steps > 1:
            due = self._blocks_due(now)
            if due:
                self.engine.pool.take(due)
                self._early_blocks += due

    def _blocks_due(self, now: int) -> int:
        """Return the blocks of steps that ended before `now`, or run, which are not taken yet."""
        done = self._steps_before(now)
        if done == 1:
            return 0
        return self.engine.decoding.blocks_needed(done - 1, after=1) - self._early_blocks

    def _gained(self, now: int) -> int:
        """Return the tokens decoded in steps that passed unnoticed, and in the one under way.

        The latter counts whether or not a step that ends at this very tick is booked already.
        """
        if not (self._block_steps and self._block_decodes):
            return 0
        steps = self._steps_before(now) if self._block_steps > 1 else 1
        return self.engine.decoding.gained(steps)

    def _steps_before(self, now: int) -> int:
        """Return the steps of the block that ended before `now`, and one under way."""
        steps, _ = steps_reaching(self._block, now - self._block_start)
        return min(max(1, steps), self._block_steps)

    # -- gaps between tokens --------------------------------------------------------------------

    def _log_gaps(self, batch: Batch, steps: int) -> None:
        """Log the gap before each token that the block's decodes gave."""
        if not batch.decodes:
            if self.engine.decoding.size and not self._stalled:
                self._stalled.append((self._block_start, self.engine.decoding.size))
            return
        add, left = self.gaps.add, steps
        if self._stalled:
            self._log_first_gaps(batch.decodes, self._block[0].first)
        elif len(self._block) == 1:
            _, first, delta = self._block[0]
            add(first, delta, steps, batch.decodes)
            return
        for position, run in enumerate(self._block):
            inside = min(left, run.steps)
            logged = position == 0 and bool(self._stalled)
            if inside > logged:
                first = run.first + run.delta * logged
                add(first, run.delta, inside - logged, batch.decodes)
            left -= inside
            if left == 0:
                break
        self._stalled.clear()

    def _log_first_gaps(self, decodes: int, first: int) -> None:
        """Log the gaps that a block's first step ends, where some were longer than the step."""
        end = self._block_start + first
        for tick, sequences in self._stalled:
            self.gaps.add(end - tick, 0, 1, sequences)
            decodes -= sequences
        if decodes:
            self.gaps.add(first, 0, 1, decodes)

    def _log_prefill_end(self, batch: Batch, now: int) -> None:
        for wait in self.engine.waits_ended:
            self.gaps.add(wait, 0, 1, 1)
        self.engine.waits_ended.clear()
        if self._stalled:
            joined = sum(s.computed == s.target and s.ticket >= 0 for s, _ in batch.prefills)
            if joined:
                self._stalled.append((now, joined))

    def _note_preemptions(self, now: int) -> None:
        """Keep, for who was preempted, the tick of the latest token; for who is back, count it."""
        for sequence in self.engine.interrupted:
            if sequence.last_token < 0:  # it took part in the latest decode step
                sequence.last_token = self._latest_decode(now)
            self._unstall(sequence.last_token)
        self.engine.interrupted.clear()
        for sequence in self.engine.preempted:
            sequence.begin_preemption(now)
        self.engine.preempted.clear()
        for sequence in self.engine.resumed:
            self._stalled.append((sequence.last_token, 1))
            sequence.end_preemption(now)
        self.engine.resumed.clear()

    def _latest_decode(self, now: int) -> int:
        """Return when the decodes of the batch being formed gave their latest token."""
        return self._stalled[0][0] if self._stalled else now

    def _unstall(self, tick: int) -> None:
        for position, (stalled, sequences) in enumerate(self._stalled):
            if stalled == tick:
                self._stalled[position] = (stalled, sequences - 1)
                if sequences == 1:
                    del self._stalled[position]
                return
