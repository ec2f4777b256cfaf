"""What a batching policy is: given an engine's state, say what the next step computes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from hermes.errors import InfeasibleError
from hermes.sim.engine import Engine
from hermes.sim.lane import Batch
from hermes.sim.limits import EngineLimits
from hermes.sim.queues import QueueOrder
from hermes.sim.registry import Registry

__all__ = ["BATCHING", "BatchingPolicy", "require_budget"]


_PACE = "prefill_schedule_interval"


class BatchingPolicy(ABC):
    """Forms batches with the moves of `Engine`; one instance serves one replica.

    A policy may mark a pure decode batch `repeatable`: it promises to form the same batch again
    until a sequence finishes, KV blocks run short, or another sequence comes to the head of the
    queue. The replica then runs many steps as one event.
    """

    imitates: ClassVar[str] = ""
    """Name of the policy that asks the real engine whose scheduler this one follows, if any."""
    knows_tiers: ClassVar[bool] = True
    """Whether requests may wait, with blocks, for KV from tiers."""
    serves: ClassVar[tuple[str, ...]] = ("generate", "prefill", "decode")
    """What its replicas can serve."""

    @classmethod
    def engine_version(cls) -> str:
        """Return which real engine decides, where one does; else an empty string."""
        return ""

    lets_decodes_run: bool = True
    """Whether it lets decodes run as they are, and keeps no count, while nobody waits."""

    def check(self, limits: EngineLimits, order: type[QueueOrder]) -> None:
        """Refuse, before time starts, what the policy cannot work with.

        Raises:
            InputError: naming the field of the client.
        """
        del order
        if limits.prefill_schedule_interval > 1:
            raise InfeasibleError(
                "only 'chunked' batching holds prompts back; leave it at 1", _PACE
            )

    @abstractmethod
    def form(self, engine: Engine) -> Batch:
        """Form the next batch, taking the KV blocks it needs; empty when nothing can run."""

    def could_admit(self, engine: Engine) -> bool:
        """Whether the head of the queue might be admitted at the next step boundary.

        A false "yes" costs time only: undisturbed steps are then taken in smaller groups.
        """
        return engine.could_admit(engine.waiting.head)


def require_budget(limits: EngineLimits, tokens: int = 1) -> None:
    """Refuse a budget that cannot hold `tokens` of every running decode.

    Raises:
        InfeasibleError: it cannot.
    """
    if limits.max_num_batched_tokens < limits.max_num_seqs * tokens:
        each = f" x {tokens} tokens to verify = {limits.max_num_seqs * tokens}"
        raise InfeasibleError(
            f"max_num_batched_tokens ({limits.max_num_batched_tokens}) must be at least "
            f"max_num_seqs ({limits.max_num_seqs}){each if tokens > 1 else ''}",
            "max_num_batched_tokens",
        )


BATCHING: Registry[type[BatchingPolicy]] = Registry("batching policy")
"""Batching policies by name."""
