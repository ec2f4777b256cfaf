"""Chunked prefill: decodes first, chunks of prompts fill the rest of the token budget."""

from __future__ import annotations

from hermes.sim.batching.base import BATCHING, BatchingPolicy, require_budget
from hermes.sim.engine import Batch, Engine
from hermes.sim.limits import EngineLimits
from hermes.sim.queues import QueueOrder

__all__ = ["Chunked", "run_prefills"]


@BATCHING.register("chunked")
class Chunked(BatchingPolicy):
    """Decodes first, then prompt chunks up to the token budget; vLLM's v1 scheduler (0.33).

    Running sequences come first: each decode takes a token, then prompts already begun take what
    is left. Waiting ones are admitted while budget, places and blocks last, and not at all in a
    step that had to preempt.
    """

    imitates = "vllm"

    def check(self, limits: EngineLimits, order: type[QueueOrder]) -> None:
        """Refuse a budget that could not hold every running decode; see `BatchingPolicy`."""
        del order
        require_budget(limits)

    def form(self, engine: Engine) -> Batch:
        """Form the next batch; see `BatchingPolicy`."""
        preempted = engine.grow_decodes()
        batch = Batch()
        budget = engine.limits.max_num_batched_tokens - engine.decoding.size
        resumed = False
        if engine.prefilling:
            budget, refused = run_prefills(engine, batch, budget)
            preempted = preempted or refused
        if not preempted:
            while engine.waiting and budget > 0 and (admitted := engine.admit(budget)):
                tokens = admitted[1]
                if tokens:
                    batch.prefills.append(admitted)
                else:
                    resumed = True
                budget -= tokens or 1
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
