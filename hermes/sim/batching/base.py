"""What a batching policy is: given an engine's state, say what the next step computes."""

from __future__ import annotations

from abc import ABC, abstractmethod

from hermes.sim.engine import Batch, Engine
from hermes.sim.limits import EngineLimits
from hermes.sim.registry import Registry

__all__ = ["BATCHING", "BatchingPolicy"]


class BatchingPolicy(ABC):
    """Forms batches with the moves of `Engine`; keeps no state of its own between steps.

    A policy may mark a pure decode batch `repeatable`: it promises to form the same batch again
    until a sequence finishes, KV blocks run short, or another sequence comes to the head of the
    queue. The replica then runs many steps as one event.
    """

    def check(self, limits: EngineLimits) -> str:
        """Return why the policy cannot work within `limits`, or an empty string."""
        del limits
        return ""

    @abstractmethod
    def form(self, engine: Engine) -> Batch:
        """Form the next batch, taking the KV blocks it needs; empty when nothing can run."""

    def could_admit(self, engine: Engine) -> bool:
        """Whether the head of the queue might be admitted at the next step boundary.

        A false "yes" costs time only: undisturbed steps are then taken in smaller groups.
        """
        return engine.could_admit(engine.waiting.head)


BATCHING: Registry[type[BatchingPolicy]] = Registry("batching policy")
"""Batching policies by name."""
