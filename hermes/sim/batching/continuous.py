"""Continuous batching, prefill first: whole prompts run alone, decodes wait for them."""

from __future__ import annotations

from hermes.sim.batching.base import BATCHING, BatchingPolicy
from hermes.sim.engine import Batch, Engine

__all__ = ["Continuous"]


@BATCHING.register("continuous")
class Continuous(BatchingPolicy):
    """The order of vLLM's v0 scheduler without chunking, and of Orca-style engines.

    While a prompt can be admitted, a step computes whole prompts up to `max_num_batched_tokens`
    and nothing else; otherwise every running sequence decodes one token. A prompt longer than the
    budget runs in a step of its own.
    """

    def form(self, engine: Engine) -> Batch:
        """Form the next batch; see `BatchingPolicy`."""
        batch = Batch()
        budget = engine.limits.max_num_batched_tokens
        while engine.waiting and engine.can_admit(engine.waiting[0]):
            tokens = engine.waiting[0].target
            if tokens > budget and batch.prefills:
                break
            sequence = engine.admit_next()
            engine.extend(sequence, tokens)
            batch.prefills.append((sequence, tokens))
            budget -= tokens
            if budget <= 0:
                break
        if not batch.prefills:
            preempted = engine.grow_decodes()
            batch.decodes = engine.decoding.size
            batch.repeatable = not preempted
        return batch
