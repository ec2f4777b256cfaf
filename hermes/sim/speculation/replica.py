"""A replica whose decodes verify drafts.

Tokens that a step gives to one sequence come together. So a step that gives it `j` tokens makes one
gap as long as the time since its token before, and `j - 1` gaps of zero: what a client sees that
notes the time of every token, as vLLM's benchmark does.
"""

from __future__ import annotations

from hermes.costs.speculation import StepLoad, VerifyCost
from hermes.errors import SimulationError
from hermes.sim.block import Block
from hermes.sim.clock import Clock
from hermes.sim.lane import Batch
from hermes.sim.replica import Replica, ReplicaListener, ReplicaSetup
from hermes.sim.speculation.drawn_group import DrawnGroup
from hermes.sim.speculation.engine import SpeculativeEngine

__all__ = ["SpeculativeReplica"]

_NO_DECODES = StepLoad(0, 0, 0, 0)


class SpeculativeReplica(Replica):
    """One engine instance that verifies drafts, and the process that steps it; see `Replica`.

    Args:
        env: The SimPy environment.
        index: Its number among all replicas.
        setup: What it is made of; its engine is a `SpeculativeEngine`.
        listener: Hears what becomes of its sequences.
        verify: Puts a duration on its steps.
    """

    def __init__(
        self,
        env: Clock,
        index: int,
        setup: ReplicaSetup,
        listener: ReplicaListener,
        verify: VerifyCost,
    ) -> None:
        super().__init__(env, index, setup, listener)
        self._verify = verify

    @property
    def _speculative(self) -> SpeculativeEngine:
        if not isinstance(self.engine, SpeculativeEngine):
            raise SimulationError("a speculative replica needs a speculative engine")
        return self.engine

    def _durations(self, batch: Batch) -> Block:
        engine = self._speculative
        if batch.repeatable and self._fast_forward:
            loads = engine.decoding.loads(engine.repetitions(batch))
            steps = [self._verify.ticks(load) for load in loads]
        else:
            steps = [self._mixed_ticks(batch)]
        if engine.moved_tokens:
            steps[0] += self._move_ticks(engine.moved_tokens)
            engine.moved_tokens = 0
        return tuple((1, ticks, 0) for ticks in steps), len(steps), sum(steps)

    def _mixed_ticks(self, batch: Batch) -> int:
        tokens = context = pairs = done = 0
        for sequence, chunk in batch.prefills:
            given, computed = sequence.granted, sequence.computed  # with the padding
            tokens += given
            context += computed
            pairs += given * computed + given * (given + 1) // 2
            done += computed + chunk == sequence.target
        load = self._speculative.decoding.load() if batch.decodes else _NO_DECODES
        if tokens:
            self._note_steps((batch.decodes, load.decode_context, tokens, context, pairs, 1))
        return self._verify.ticks(
            load._replace(
                prefill_tokens=tokens,
                prefill_context=context,
                prefill_pairs=pairs,
                prompts_done=done,
            )
        )

    def _finish_block(self, batch: Batch, now: int) -> None:
        engine = self._speculative
        drafts = engine.decoding.tokens - batch.decodes if batch.decodes else 0
        padding = sum(sequence.granted - tokens for sequence, tokens in batch.prefills)
        self.computed_tokens += drafts * self._block_steps + padding
        super()._finish_block(batch, now)
        if engine.instant:
            self.gaps.add(0, 0, 1, engine.instant)
            engine.instant = 0
        if isinstance(engine.decoding, DrawnGroup):
            for wait, sequences in engine.decoding.waits.items():
                self.gaps.add(wait, 0, 1, sequences)
            engine.decoding.waits.clear()

    def _log_gaps(self, batch: Batch, steps: int) -> None:
        if not isinstance(self._speculative.decoding, DrawnGroup):
            super()._log_gaps(batch, steps)

    def _note_preemptions(self, now: int) -> None:
        super()._note_preemptions(now)
        if isinstance(self._speculative.decoding, DrawnGroup):
            self._stalled.clear()  # each sequence knows when its latest token came
