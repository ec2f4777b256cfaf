"""Continuous batching, prefill first: whole prompts run alone, decodes wait for them."""

from __future__ import annotations

from hermes.sim.batching.base import BATCHING, BatchingPolicy
from hermes.sim.engine import Engine
from hermes.sim.lane import Batch

__all__ = ["Continuous", "admit_whole_prompts", "decode_step"]


@BATCHING.register("continuous")
class Continuous(BatchingPolicy):
    """Prefill first: whole prompts in steps of their own, decodes wait; vLLM's v0 scheduler.

    While a prompt can be admitted, a step computes whole prompts up to `max_num_batched_tokens`
    and nothing else; otherwise every running sequence decodes one token. A prompt longer than the
    budget runs in a step of its own. Nobody is admitted before a swapped-out sequence is back.
    """

    def form(self, engine: Engine) -> Batch:
        """Form the next batch; see `BatchingPolicy`."""
        batch = Batch()
        admit_whole_prompts(engine, batch, engine.limits.max_num_batched_tokens)
        return batch if batch.prefills else decode_step(engine)


def admit_whole_prompts(engine: Engine, batch: Batch, budget: int) -> None:
    """Admit whole prompts while they fit the budget, and the first one even if it does not."""
    while budget > 0 and engine.waiting and not engine.waiting.head.swapped:
        tokens = engine.next_tokens()
        if tokens > budget and batch.prefills:
            break
        admitted = engine.admit(tokens)
        if admitted is None:
            break
        batch.prefills.append(admitted)
        budget -= tokens


def decode_step(engine: Engine) -> Batch:
    """Return a batch of every running decode, and of those that can be swapped in."""
    preempted = engine.grow_decodes()
    resumed = False
    while not preempted and engine.waiting and engine.waiting.head.swapped:
        if engine.admit(engine.limits.decode_tokens) is None:
            break
        resumed = True
    return Batch(engine.decoding.size, [], repeatable=not (preempted or resumed))
