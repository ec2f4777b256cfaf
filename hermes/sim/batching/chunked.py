"""Chunked prefill: decodes first, chunks of prompts fill the rest of the token budget."""

from __future__ import annotations

from hermes.sim.batching.base import BATCHING, BatchingPolicy
from hermes.sim.engine import Batch, Engine, EngineLimits

__all__ = ["Chunked"]


@BATCHING.register("chunked")
class Chunked(BatchingPolicy):
    """The order of vLLM's v1 scheduler (0.33), FCFS, with its `scheduler_reserve_full_isl`.

    Running sequences come first: each decode takes a token, then a prompt already begun takes what
    is left. Waiting ones are admitted while budget, places and blocks last, and not at all in a
    step that had to preempt.
    """

    def check(self, limits: EngineLimits) -> str:
        """Refuse a budget that could not hold every running decode; see `BatchingPolicy`."""
        if limits.max_num_batched_tokens < limits.max_num_seqs:
            return (
                f"max_num_batched_tokens ({limits.max_num_batched_tokens}) must be at least "
                f"max_num_seqs ({limits.max_num_seqs})"
            )
        return ""

    def form(self, engine: Engine) -> Batch:
        """Form the next batch; see `BatchingPolicy`."""
        preempted = engine.grow_decodes()
        batch = Batch(engine.decoding.size)
        budget = engine.limits.max_num_batched_tokens - batch.decodes
        for sequence in list(engine.prefilling):
            tokens = min(sequence.target - sequence.computed, budget)
            if not engine.extend(sequence, tokens):
                preempted = True
                break
            batch.prefills.append((sequence, tokens))
            budget -= tokens
        if not preempted:
            self._admit(engine, batch, budget)
        batch.repeatable = not preempted and not batch.prefills
        return batch

    @staticmethod
    def _admit(engine: Engine, batch: Batch, budget: int) -> None:
        while budget > 0 and engine.waiting and engine.can_admit(engine.waiting[0]):
            sequence = engine.admit_next()
            tokens = min(sequence.target, budget)
            engine.extend(sequence, tokens)
            batch.prefills.append((sequence, tokens))
            budget -= tokens
