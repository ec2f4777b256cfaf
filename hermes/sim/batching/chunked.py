"""Chunked prefill: decodes first, chunks of prompts fill the rest of the token budget."""

from __future__ import annotations

from hermes.sim.batching.base import BATCHING, BatchingPolicy
from hermes.sim.engine import Batch, Engine
from hermes.sim.limits import EngineLimits

__all__ = ["Chunked", "run_prefills"]


@BATCHING.register("chunked")
class Chunked(BatchingPolicy):
    """Decodes first, then prompt chunks up to the token budget; vLLM's v1 scheduler (0.33).

    Running sequences come first: each decode takes a token, then prompts already begun take what
    is left. Waiting ones are admitted while budget, places and blocks last, and not at all in a
    step that had to preempt.
    """

    def check(self, limits: EngineLimits) -> str:
        """Refuse a budget that could not hold every running decode; see `BatchingPolicy`."""
        return budget_problem(limits, limits.decode_tokens if limits.uniform_drafts else 1)

    def form(self, engine: Engine) -> Batch:
        """Form the next batch; see `BatchingPolicy`."""
        budget = engine.limits.max_num_batched_tokens
        preempted = engine.grow_decodes(budget)
        batch = Batch()
        budget -= engine.decoding.tokens
        resumed = False
        if engine.prefilling:
            budget, refused = run_prefills(engine, batch, budget)
            preempted = preempted or refused
        if not preempted:
            while engine.waiting and budget > 0 and (admitted := engine.admit(budget)):
                if admitted[1]:
                    batch.prefills.append(admitted)
                else:
                    resumed = True
                budget -= admitted[0].granted
        batch.decodes = engine.decoding.size
        batch.repeatable = not (preempted or resumed or batch.prefills)
        return batch


def run_prefills(engine: Engine, batch: Batch, budget: int) -> tuple[int, bool]:
    """Give the prompts already begun their chunks, oldest first.

    Returns:
        The budget left, and whether any sequence was preempted.
    """
    before = len(engine.preempted)
    for sequence in list(engine.prefilling):
        if sequence.ticket < 0 or budget <= 0:
            continue  # preempted by one before it
        tokens = engine.chunk(sequence, budget)
        marked = len(engine.preempted)
        if engine.extend(sequence, tokens):
            batch.prefills.append((sequence, tokens))
            budget -= tokens
        for victim in engine.preempted[marked:]:
            budget += victim.granted
            victim.granted = 0
    batch.prefills = [entry for entry in batch.prefills if entry[0].ticket >= 0]
    return budget, len(engine.preempted) > before


def budget_problem(limits: EngineLimits, tokens: int) -> str:
    """Return why a budget cannot hold `tokens` of every running decode, or an empty string."""
    if limits.max_num_batched_tokens < limits.max_num_seqs * tokens:
        each = f" x {tokens} tokens to verify = {limits.max_num_seqs * tokens}"
        return (
            f"max_num_batched_tokens ({limits.max_num_batched_tokens}) must be at least "
            f"max_num_seqs ({limits.max_num_seqs}){each if tokens > 1 else ''}"
        )
    return ""
