"""Holding prompts back so that decodes run alone for a while: vLLM's prefill_schedule_interval."""

from __future__ import annotations

from hermes.sim.engine import Engine
from hermes.sim.lane import Batch

__all__ = ["PrefillCadence"]


class PrefillCadence:
    """Says in which steps no prompt is computed; follows vLLM's v1 scheduler (0.33).

    While anything decodes, prompts run again `prefill_schedule_interval` steps after the latest
    step that carried one. A backlog ends that: when the latest step open to prompts left requests
    waiting, nothing is held back.
    """

    __slots__ = ("_backlog", "_open_at")

    def __init__(self) -> None:
        self._open_at = 0  # the steps scheduled after which prompts may run
        self._backlog = False

    def held_steps(self, engine: Engine) -> int:
        """Return for how many steps, from the one being formed, prompts are held back."""
        if self._backlog or not engine.decoding.size:
            return 0
        return max(0, self._open_at - engine.scheduled)

    def note(self, engine: Engine, batch: Batch, carried: bool) -> None:
        """Note a batch that was formed, and whether it carried a prompt of more than a token."""
        if carried:
            interval = engine.limits.prefill_schedule_interval
            self._open_at = engine.scheduled + bool(batch) + interval - 1

    def note_backlog(self, engine: Engine) -> None:
        """Note that a step open to prompts has admitted what it could."""
        self._backlog = bool(engine.waiting)
