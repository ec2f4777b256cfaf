"""A replica: an engine in simulated time, one SimPy process.

A step that nothing can disturb is not an event of its own: while the same sequences decode and
nobody who waits could be admitted, all steps up to the next finish or the next shortage of blocks
are one block of time. A request that arrives meanwhile cuts the block at the first step boundary
from then on, which is where it would have been seen.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

from simpy import Event

from hermes.costs.step import StepCost
from hermes.errors import SimulationError
from hermes.metrics.gaps import TokenGaps
from hermes.sim.batching import BatchingPolicy
from hermes.sim.block import Run, decode_runs, elapsed, steps_reaching
from hermes.sim.clock import Alarm, Clock, begin_priority, end_priority
from hermes.sim.engine import Batch, Engine
from hermes.sim.sequence import Sequence

__all__ = ["Replica"]


class Replica:
    """One engine instance and the process that steps it.

    Args:
        env: The SimPy environment; its time is integer ticks.
        index: Its number among all replicas; settles what shares a tick.
        engine: The scheduler state.
        policy: Forms the batches.
        costs: Puts a duration on them.
        on_finish: Called with each sequence that sampled its last token, and the tick.
        fast_forward: Whether undisturbed steps are taken as one event; the results are the same.
    """

    def __init__(
        self,
        env: Clock,
        index: int,
        engine: Engine,
        policy: BatchingPolicy,
        costs: StepCost,
        on_finish: Callable[[Sequence, int], None],
        fast_forward: bool = True,
    ) -> None:
        self.index = index
        self.engine = engine
        self.gaps = TokenGaps()
        self.steps = 0
        self.busy_ticks = 0
        self._env = env
        self._policy = policy
        self._costs = costs
        self._on_finish = on_finish
        self._fast_forward = fast_forward
        self._end, self._begin = end_priority(index), begin_priority(index)
        self._idle: Event | None = None
        self._alarm: Alarm | None = None  # the end of the block under way
        self._block: list[Run] = []
        self._block_steps = 0
        self._block_start = 0
        self._stalled: list[tuple[int, int]] = []  # (tick of latest token, sequences) while waiting
        env.process(self._run())

    # -- what others see ------------------------------------------------------------------------

    def submit(self, sequence: Sequence) -> None:
        """Queue a sequence; it is seen at the next step boundary, or now if the replica idles."""
        engine = self.engine
        engine.waiting.append(sequence)
        if self._idle is not None:
            idle, self._idle = self._idle, None
            idle.succeed()
        elif self._block_steps > 1 and engine.waiting[0] is sequence and engine.can_admit(sequence):
            self._cut_block()

    def outstanding_requests(self) -> int:
        """Requests queued or running."""
        return len(self.engine.waiting) + self.engine.num_running

    def committed_blocks(self, now: int) -> int:
        """KV blocks in use, and those the queue will need for what it is known to hold.

        Counts the steps that ended before `now`, so it does not depend on how steps are grouped.
        """
        engine = self.engine
        used = engine.limits.num_blocks - engine.free_blocks
        if self._block_steps > 1:
            done = self._steps_before(now)
            if done > 1:
                used += engine.decoding.blocks_needed(done - 1, after=1)
        return used + sum(engine.blocks_for(sequence.target) for sequence in engine.waiting)

    # -- the process ----------------------------------------------------------------------------

    def _run(self) -> Generator[Event, None, None]:
        env, engine = self._env, self.engine
        while True:
            if not engine.has_work:
                self._idle = env.event()
                yield self._idle
                yield Alarm(env, 0, self._begin)
            elif env.peek() == env.now:
                yield Alarm(env, 0, self._begin)  # let everything else of this tick happen first
            batch = self._form()
            runs = self._durations(batch)
            self._block, self._block_start = runs, env.now
            self._block_steps = sum(run.steps for run in runs)
            self._alarm = Alarm(env, elapsed(runs, self._block_steps), self._end)
            yield self._alarm
            self._finish_block(batch)

    def _form(self) -> Batch:
        batch = self._policy.form(self.engine) or self._policy.form(self.engine)
        if not batch:
            raise SimulationError(
                f"replica {self.index} has work but {type(self._policy).__name__} forms no batch; "
                f"head of the queue: {list(self.engine.waiting)[:1]}"
            )
        now = self._env.now
        for sequence, _ in batch.prefills:
            if sequence.scheduled < 0:
                sequence.scheduled = now
        if self.engine.preempted:
            self._note_preemptions(now)
        return batch

    def _durations(self, batch: Batch) -> list[Run]:
        decoding = self.engine.decoding
        if not batch.prefills:
            steps = self.engine.repetitions() if batch.repeatable and self._fast_forward else 1
            return decode_runs(self._costs, batch.decodes, decoding.context, steps)
        tokens = context = pairs = rows = 0
        for sequence, chunk in batch.prefills:
            done = sequence.computed
            tokens += chunk
            context += done
            pairs += chunk * done + chunk * (chunk + 1) // 2
            rows += done + chunk == sequence.target
        decode_context = decoding.context if batch.decodes else 0
        return [
            Run(
                1,
                self._costs.step_ticks(
                    batch.decodes, decode_context, tokens, context, pairs, rows + batch.decodes
                ),
                0,
            )
        ]

    def _finish_block(self, batch: Batch) -> None:
        now, steps = self._env.now, self._block_steps
        self.steps += steps
        self.busy_ticks += now - self._block_start
        self._log_gaps(batch, steps)
        self._block_steps = 0
        finished = self.engine.complete(batch, steps, now)
        if batch.prefills:
            self._log_prefill_end(batch, now)
        for sequence in finished:
            self._on_finish(sequence, now)

    # -- cutting a block ------------------------------------------------------------------------

    def _cut_block(self) -> None:
        passed = self._env.now - self._block_start
        steps, ticks = steps_reaching(self._block, passed)
        steps, ticks = max((steps, ticks), (1, self._block[0].first))
        if steps < self._block_steps and self._alarm is not None:
            self._block_steps = steps
            self._alarm = self._alarm.moved(ticks - passed, self._end)

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
        for position, run in enumerate(self._block):
            inside = min(left, run.steps)
            if position == 0 and self._stalled:
                end = self._block_start + run.first
                for tick, sequences in self._stalled:
                    add(end - tick, 0, 1, sequences)
                self._stalled.clear()
                if inside > 1:
                    add(run.first + run.delta, run.delta, inside - 1, batch.decodes)
            else:
                add(run.first, run.delta, inside, batch.decodes)
            left -= inside
            if left == 0:
                break

    def _log_prefill_end(self, batch: Batch, now: int) -> None:
        joined = 0
        for sequence, _ in batch.prefills:
            if sequence.computed < sequence.target:
                continue
            joined += sequence.ticket >= 0
            if sequence.last_token >= 0:
                self.gaps.add(now - sequence.last_token, 0, 1, 1)
                sequence.last_token = -1
        if self._stalled and joined:
            self._stalled.append((now, joined))

    def _note_preemptions(self, now: int) -> None:
        """Remember when each preempted sequence gave its latest token; it ends its wait there."""
        for sequence in self.engine.preempted:
            if sequence.first_token < 0 or sequence.last_token >= 0:
                continue
            sequence.last_token = now
            if self._stalled:
                tick, sequences = self._stalled.pop()
                sequence.last_token = tick
                if sequences > 1:
                    self._stalled.append((tick, sequences - 1))
        self.engine.preempted.clear()
