"""Mixed batching: whole prompts and decodes share a step."""

from __future__ import annotations

from hermes.sim.batching.base import BATCHING, BatchingPolicy, require_budget
from hermes.sim.engine import Engine
from hermes.sim.lane import Batch
from hermes.sim.limits import EngineLimits
from hermes.sim.queues import QueueOrder

__all__ = ["Mixed"]


@BATCHING.register("mixed")
class Mixed(BatchingPolicy):
    """Whole prompts and decodes share a step; vLLM's v1 scheduler without chunked prefill.

    Every running sequence decodes a token; waiting prompts are admitted whole while the rest of the
    token budget holds them. vLLM refuses prompts longer than the budget; here such a prompt is
    admitted as the only one of its step.
    """

    def check(self, limits: EngineLimits, order: type[QueueOrder]) -> None:
        """Refuse a budget that could not hold every running decode; see `BatchingPolicy`."""
        super().check(limits, order)
        require_budget(limits, limits.decode_tokens)

    def form(self, engine: Engine) -> Batch:
        """Form the next batch; see `BatchingPolicy`."""
        preempted = engine.grow_decodes()
        batch = Batch()
        resumed = False
        budget = whole = engine.limits.max_num_batched_tokens
        budget -= engine.decoding.tokens
        while not preempted and budget > 0 and (tokens := engine.next_tokens()):
            if tokens > budget and (batch.prefills or tokens <= whole):
                break
            admitted = engine.admit(max(tokens, budget))
            if admitted is None:
                break
            if admitted[1]:
                batch.prefills.append(admitted)
            else:
                resumed = True
            budget -= max(tokens, admitted[0].granted)
        batch.decodes = engine.decoding.size
        batch.repeatable = not (preempted or resumed or batch.prefills)
        return batch
