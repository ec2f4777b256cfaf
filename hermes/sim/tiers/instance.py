"""An instance of a tier while a simulation runs."""

from __future__ import annotations

from collections.abc import Hashable

from hermes.errors import SimulationError
from hermes.sim.tiers.plan import InstancePlan
from hermes.sim.tiers.store import TierStore, TierUse

__all__ = ["TierInstance"]


class TierInstance:
    """What an instance holds, what is on its way to it, and what it did.

    Args:
        plan: What is known of it before time starts.
    """

    __slots__ = (
        "bytes_read",
        "bytes_written",
        "hit_tokens",
        "incoming",
        "missed_tokens",
        "plan",
        "store",
    )

    def __init__(self, plan: InstancePlan) -> None:
        self.plan = plan
        self.store = TierStore(plan.capacity, plan.eviction(plan.capacity or 0))
        self.incoming: dict[Hashable, None] = {}
        self.hit_tokens = self.missed_tokens = 0
        self.bytes_read = self.bytes_written = 0

    def lacks(self, key: Hashable) -> bool:
        """Whether a block is neither here nor on its way."""
        return key not in self.store and key not in self.incoming

    def use(self) -> TierUse:
        """Return what it did so far."""
        plan, store = self.plan, self.store
        return TierUse(
            tier=plan.tier,
            place=plan.place,
            capacity_bytes=plan.capacity,
            hit_tokens=self.hit_tokens,
            missed_tokens=self.missed_tokens,
            bytes_read=self.bytes_read,
            bytes_written=self.bytes_written,
            evictions=store.evictions,
            used_bytes=store.used,
            peak_bytes=store.peak,
        )

    def check_drained(self) -> None:
        """Raise if a block is still on its way when no event is, or the bytes do not add up."""
        if self.incoming:
            raise SimulationError(f"{len(self.incoming)} blocks never arrived in {self.plan.name}")
        self.store.audit()
