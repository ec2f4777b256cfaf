"""Taking sequences out of an engine before they are done.

Follows vLLM's engine core (v1, 0.33): an abort that comes while a step runs is dealt with when the
step ends, before its outputs are. So what the step gave an aborted sequence is lost, though it be
its last token; the blocks it filled stay known as long as any others do. A sequence whose KV is on
its way keeps its blocks until the last byte has come or gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hermes.sim.lane import Batch
    from hermes.sim.scheduler_state import SchedulerState
    from hermes.sim.sequence import Sequence

__all__ = ["take_out"]


def take_out(engine: SchedulerState, batch: Batch | None = None) -> None:
    """Take out the doomed sequences of an engine that no step or transfer holds, at a boundary.

    Those that run in another lane than the one entered stay doomed until its own step ends.

    Args:
        engine: The engine.
        batch: The step that has just ended, whose decodes are counted and whose prompts are not.
    """
    if batch is not None:
        _count_prompts(engine, batch)
    engine.doomed[:] = [sequence for sequence in engine.doomed if not _taken(engine, sequence)]


def _count_prompts(engine: SchedulerState, batch: Batch) -> None:
    """Count what the step computed of doomed prompts, and let nobody else do so."""
    doomed = {sequence.request_id for sequence in engine.doomed}
    for sequence, tokens in batch.prefills:
        if sequence.request_id in doomed:
            sequence.granted = 0
            sequence.computed += tokens
    batch.prefills = [entry for entry in batch.prefills if entry[0].request_id not in doomed]


def _taken(engine: SchedulerState, sequence: Sequence) -> bool:
    """Take a sequence out, unless it must stay for now; whether it is gone."""
    if sequence.ticket >= 0:
        return _stop(engine, sequence)
    parked = sequence.request_id in engine.holdings.parked
    if sequence in engine.waiting:
        engine.withdraw(sequence)
    elif sequence in engine.arrived:
        engine.arrived.remove(sequence)
    elif parked:
        return False
    if parked:
        engine.holdings.sent(sequence)
    return True


def _stop(engine: SchedulerState, sequence: Sequence) -> bool:
    if sequence in engine.prefilling:
        engine.prefilling.remove(sequence)
    elif any(sequence is member for member in engine.decoding.sequences()):
        engine.decoding.leave(sequence)
    else:
        return False
    engine.holdings.retire(sequence)
    sequence.ticket = -1
    return True
