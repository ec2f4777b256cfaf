"""Chunked prefill: decodes first, chunks of prompts fill the rest of the token budget."""

from __future__ import annotations

from hermes.sim.batching.base import BATCHING, BatchingPolicy, require_budget
from hermes.sim.batching.cadence import PrefillCadence
from hermes.sim.engine import Engine
from hermes.sim.lane import Batch
from hermes.sim.limits import EngineLimits
from hermes.sim.queues import QueueOrder

__all__ = ["Chunked", "run_prefills"]


@BATCHING.register("chunked")
class Chunked(BatchingPolicy):
    """Decodes first, then prompt chunks up to the token budget; vLLM's v1 scheduler (0.33).

    Running sequences come first: each decode takes a token, then prompts already begun take what
    is left. Waiting ones are admitted while budget, places and blocks last, and not at all in a
    step that had to preempt. `prefill_schedule_interval` keeps prompts out of some steps.
    """

    imitates = "vllm"

    def __init__(self) -> None:
        self._cadence = PrefillCadence()

    def check(self, limits: EngineLimits, order: type[QueueOrder]) -> None:
        """Refuse a budget that could not hold every running decode; see `BatchingPolicy`."""
        del order
        require_budget(limits, limits.decode_tokens if limits.uniform_drafts else 1)

    def form(self, engine: Engine) -> Batch:
        """Form the next batch; see `BatchingPolicy`."""
        cadence = self._cadence if engine.paced else None
        held = cadence.held_steps(engine) if cadence else 0
        budget = engine.limits.max_num_batched_tokens
        preempted = engine.grow_decodes(budget, joining=False)
        batch = Batch()
        budget -= engine.decoding.tokens
        carried = resumed = False
        if engine.prefilling and not held:
            budget, refused, carried = run_prefills(engine, batch, budget)
            preempted = preempted or refused
        if not preempted:
            if engine.arrived:
                budget -= engine.join_arrived(budget)
            while engine.waiting and budget > 0 and not (held and engine.tokens_left() > 1):
                admitted = engine.admit(budget)
                if admitted is None:
                    break
                sequence, tokens = admitted
                if tokens:
                    batch.prefills.append(admitted)
                    carried = carried or sequence.target - sequence.computed > 1
                else:
                    resumed = True
                budget -= sequence.granted
            if cadence and not held:
                cadence.note_backlog(engine)
        batch.decodes = engine.decoding.size
        batch.repeatable = not (preempted or resumed or batch.prefills)
        if held and (engine.prefilling or engine.waiting):
            batch.most_steps = held
        if cadence:
            cadence.note(engine, batch, carried)
        return batch


def run_prefills(engine: Engine, batch: Batch, budget: int) -> tuple[int, bool, bool]:
    """Give the prompts already begun their chunks, oldest first.

    Returns:
        The budget left, whether any sequence was preempted, and whether any was given a chunk, even
        if it was preempted after that.
    """
    before, carried = len(engine.preempted), False
    for sequence in list(engine.prefilling):
        if sequence.ticket < 0 or budget <= 0:
            continue  # preempted by one before it
        tokens = engine.chunk(sequence, budget)
        marked = len(engine.preempted)
        if engine.extend(sequence, tokens):
            batch.prefills.append((sequence, tokens))
            budget -= tokens
            carried = True
        for victim in engine.preempted[marked:]:
            budget += victim.granted
            victim.granted = 0
    batch.prefills = [entry for entry in batch.prefills if entry[0].ticket >= 0]
    return budget, len(engine.preempted) > before, carried
