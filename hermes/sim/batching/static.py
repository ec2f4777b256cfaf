"""Static batching: a batch is filled once and runs until its last sequence is done."""

from __future__ import annotations

from hermes.sim.batching.base import BATCHING, BatchingPolicy
from hermes.sim.batching.continuous import admit_whole_prompts, decode_step
from hermes.sim.engine import Engine
from hermes.sim.lane import Batch

__all__ = ["Static"]


@BATCHING.register("static")
class Static(BatchingPolicy):
    """Fill a batch of whole prompts when nothing runs, then decode until all of it is done.

    Finished sequences leave at once and free their blocks, but nobody takes their place before the
    last one is done.
    """

    def form(self, engine: Engine) -> Batch:
        """Form the next batch; see `BatchingPolicy`."""
        batch = Batch()
        if engine.num_running == 0:
            admit_whole_prompts(engine, batch, engine.limits.max_num_batched_tokens)
        return batch if batch.prefills else decode_step(engine)

    def could_admit(self, engine: Engine) -> bool:
        """Nobody joins a batch that runs; see `BatchingPolicy`."""
        return engine.num_running == 0
