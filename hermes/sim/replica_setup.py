"""What a replica is made of, and who hears what becomes of its sequences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hermes.costs.step import StepCost
from hermes.sim.batching import BatchingPolicy
from hermes.sim.engine import Engine
from hermes.sim.lane import Batch
from hermes.sim.sequence import Sequence

if TYPE_CHECKING:
    from hermes.sim.replica import Replica

__all__ = ["Observer", "ReplicaListener", "ReplicaSetup"]


@dataclass(frozen=True, slots=True)
class ReplicaSetup:
    """What a replica is made of.

    Attributes:
        engine: The scheduler state.
        policy: Forms the batches.
        costs: Puts a duration on them.
        move_ticks: Ticks to move the KV of so many tokens to or from host memory.
        fast_forward: Whether undisturbed steps are taken as one event; the results are the same.
        check: Whether the engine's laws are checked after every block of steps.
        layerwise: Whether KV leaves layer by layer, during the step that ends a prompt.
        front_end_ticks: What the serving front end adds to each request.
        observer: Is shown every batch that is formed.
    """

    engine: Engine
    policy: BatchingPolicy
    costs: StepCost
    move_ticks: Callable[[int], int]
    fast_forward: bool = True
    check: bool = False
    layerwise: bool = False
    front_end_ticks: int = 0
    observer: Observer | None = None


class ReplicaListener(Protocol):
    """Who hears what becomes of a replica's sequences."""

    def finished(self, replica: Replica, sequence: Sequence, now: int) -> None:
        """Hear that a sequence sampled its last token."""

    def prefilled(self, replica: Replica, sequence: Sequence, now: int) -> None:
        """Hear that a sequence sampled its first token and goes on elsewhere."""

    def finishing_prompt(self, replica: Replica, sequence: Sequence, begin: int, end: int) -> None:
        """Hear in which step a prompt will be done whose KV is sent layer by layer."""

    def fetching(self, replica: Replica, sequence: Sequence) -> None:
        """Hear that a sequence has blocks for the KV that is to come."""


Observer = Callable[["Replica", int, Batch], None]
"""Sees a replica, the tick at which its step begins, and the step's batch; must change nothing."""
