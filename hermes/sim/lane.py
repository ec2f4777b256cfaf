"""A lane: running sequences that share their batches, and the batch of one of their steps."""

from __future__ import annotations

from dataclasses import dataclass, field

from hermes.sim.decode_group import DecodeGroup
from hermes.sim.running import RunningList
from hermes.sim.sequence import Sequence

__all__ = ["Batch", "Lane"]


@dataclass(slots=True)
class Batch:
    """What one step computes: one token of every decoding sequence, and chunks of prompts."""

    decodes: int = 0
    prefills: list[tuple[Sequence, int]] = field(default_factory=list)
    repeatable: bool = (
        False  # the next step would be alike until a finish, a shortage or an arrival
    )
    most_steps: int = 0  # that it may be repeated for; 0: as long as that

    def __bool__(self) -> bool:
        return self.decodes > 0 or bool(self.prefills)


@dataclass(slots=True)
class Lane:
    """The running sequences that share their batches: all of them, without a pipeline."""

    decoding: DecodeGroup
    prefilling: list[Sequence]  # admitted, prompt not yet computed; oldest first
    running: RunningList
    grown: bool = False  # the decodes have the blocks of the step formed last

    @property
    def size(self) -> int:
        """Sequences admitted and not done."""
        return self.decoding.size + len(self.prefilling)
