"""Data-parallel groups in lock-step: replicas that share routed experts, and so step together.

Follows vLLM's `data_parallel_size` for mixtures of experts (v1, 0.33). Each group schedules
sequences of its own. Every layer with experts brings the tokens of all groups together, so a step
lasts as long as that of the slowest group; a group with nothing to do runs along on a dummy batch,
and looks at its queue when the step ends, like the others. All batches are padded to the largest.

Not modelled: experts whose load differs, and steps in which groups are not padded (vLLM pads where
it runs CUDA graphs).
"""

from __future__ import annotations

from collections.abc import Sequence as Sequence_
from typing import NamedTuple

from simpy import Event

from hermes.sim.aborts import take_out
from hermes.sim.block import Run, steps_reaching
from hermes.sim.clock import Clock, Timer, begin_priority, end_priority
from hermes.sim.lane import Batch
from hermes.sim.replica import Replica

__all__ = ["Lockstep", "LockstepReplica"]


class Part(NamedTuple):
    """What one group would do alone.

    Attributes:
        steps: For how many it may go on as it is.
        tokens: Of each step.
        first: Ticks of the first step.
        delta: By which each step is longer than the one before.
    """

    steps: int
    tokens: int
    first: int
    delta: int


class LockstepReplica(Replica):
    """One of several groups that step together; see `Replica`."""

    together: Lockstep
    one_batch_at_a_time = False

    @property
    def could_join(self) -> bool:
        """Whether the next step could hold what waits here."""
        engine = self.engine
        if self._idle:
            return engine.has_work
        waits = bool(engine.waiting) and self._policy.could_admit(engine)
        return bool(engine.arrived) or waits

    def disturb(self) -> None:
        """Look at the queue again at the next step boundary, or now if all idle."""
        self.together.disturb(self)

    def _wake(self) -> None:
        self.together.wake()

    @property
    def _stepping(self) -> bool:
        return self.together.stepping

    def _cut_block(self) -> None:
        self.together.cut()

    def form(self) -> Part | None:
        """Form a batch, if anything can run; return what it would take alone."""
        engine, batch = self.engine, Batch()
        if engine.has_work:
            batch = self._form()
        self._batch = batch
        self._idle = not (batch.decodes or batch.prefills)
        if self._idle:
            return None
        moved = 0
        if engine.moved_tokens:
            moved = self._move_ticks(engine.moved_tokens)
            engine.moved_tokens = 0
        if batch.prefills:
            tokens = batch.decodes + sum(chunk for _, chunk in batch.prefills)
            return Part(1, tokens, self._mixed_ticks(batch) + moved, 0)
        size, context = batch.decodes, engine.decoding.context
        limit, base, slope = self.costs.decode_segment(size, context)
        steps = engine.repetitions(batch) if batch.repeatable and self._fast_forward else 1
        steps = min(steps, -((context - limit) // size))
        return Part(1 if moved else steps, size, base + slope * context + moved, slope * size)

    def begin(self, now: int, run: Run | None) -> None:
        """Begin a block of steps that last as long as the slowest group needs."""
        self._block_start = now
        if run is None or self._idle:
            return
        self._block, self._block_steps = (run,), run[0]
        self._block_decodes = self._batch.decodes > 0
        if self._layerwise:
            self._announce_prompts(self._batch, now + run[1])

    def cut(self, steps: int) -> None:
        """End the block under way after so many steps."""
        if not self._idle:
            self._block_steps = steps

    def finish(self, now: int) -> None:
        """Book the block that has ended."""
        if self._idle:
            self.busy_ticks += now - self._block_start
            if self.engine.doomed:
                take_out(self.engine)
        else:
            self._finish_block(self._batch, now)


class Lockstep:
    """Steps the groups of one replica.

    Args:
        env: The clock.
        members: The groups.
    """

    def __init__(self, env: Clock, members: Sequence_[LockstepReplica]) -> None:
        self._env = env
        self._members = tuple(members)
        for member in members:
            member.together = self
        first = members[0].index
        self._end, self._begin = end_priority(first), begin_priority(first)
        self._ends = Timer(env, self._on_end)
        self._begins = Timer(env, self._on_begin)
        self._waking = False
        self._run: Run | None = None  # the steps under way
        self._start = 0

    @property
    def stepping(self) -> bool:
        """Whether a step is under way."""
        return self._run is not None

    def wake(self) -> None:
        """Begin a step once all else of this tick has happened, unless one is under way."""
        if self._run is None and not self._waking:
            self._waking = True
            self._begins.set(0, self._begin)

    def disturb(self, member: LockstepReplica) -> None:
        """Look at a group's queue at the next step boundary, or now if all idle."""
        if self._run is None:
            if member.engine.has_work:
                self.wake()
        elif member.could_join:
            self.cut()

    def cut(self) -> None:
        """End the block under way at the next step boundary."""
        if self._run is None or self._run[0] == 1:
            return
        passed = self._env.now - self._start
        steps, ticks = steps_reaching((self._run,), passed)
        if steps < 1:
            steps, ticks = 1, self._run[1]
        if steps < self._run[0]:
            self._run = (steps, *self._run[1:])
            for member in self._members:
                member.cut(steps)
            self._ends = self._ends.moved(ticks - passed, self._end)

    def _on_begin(self, _: Event) -> None:
        self._waking = False
        self._step()

    def _step(self) -> None:
        parts = [(member, member.form()) for member in self._members]
        working = [(member, part) for member, part in parts if part is not None]
        if not working:
            return
        most = max(part.tokens for _, part in working)
        run = _slowest(
            [
                part._replace(first=part.first + member.costs.padding_ticks(part.tokens, most))
                for member, part in working
            ]
        )
        self._run, self._start = run, self._env.now
        for member in self._members:
            member.begin(self._start, run)
        steps, first, delta = run
        self._ends.set(steps * first + delta * (steps * (steps - 1) // 2), self._end)

    def _on_end(self, _: Event) -> None:
        now, self._run = self._env.now, None
        for member in self._members:
            member.finish(now)
        if any(member.engine.has_work for member in self._members):
            if self._env.more_now():
                self.wake()
            elif not self._waking:
                self._step()


def _slowest(parts: list[Part]) -> Run:
    """Return the steps for which one part is the slowest throughout, from the first on."""
    slowest = max(parts, key=lambda part: (part.first, part.delta))
    steps = min(part.steps for part in parts)
    for part in parts:
        if part.delta > slowest.delta:
            steps = min(steps, (slowest.first - part.first) // (part.delta - slowest.delta) + 1)
    return steps, slowest.first, slowest.delta
