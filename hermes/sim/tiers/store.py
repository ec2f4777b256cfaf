"""What one instance of a tier holds, and what became of those who asked."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from hermes.errors import SimulationError
from hermes.sim.tiers.eviction import EvictionPolicy

__all__ = ["TierStore", "TierUse", "tier_facts"]


@dataclass(frozen=True, slots=True)
class TierUse:
    """What an instance of a tier did.

    Attributes:
        tier: Name of the tier.
        place: Name of the replica, node or rack that the instance belongs to, or `all`.
        capacity_bytes: What it holds at most; None: without limit.
        hit_tokens: Tokens asked for and found; whether they were fetched is the policy's choice.
        missed_tokens: Tokens asked for and not found here, nor in a tier before it.
        bytes_read: Bytes fetched from it.
        bytes_written: Bytes written to it.
        evictions: Blocks that left it for want of room.
        used_bytes: What it holds in the end.
        peak_bytes: The most it ever held.
    """

    tier: str
    place: str
    capacity_bytes: int | None
    hit_tokens: int
    missed_tokens: int
    bytes_read: int
    bytes_written: int
    evictions: int
    used_bytes: int
    peak_bytes: int

    @property
    def hit_rate(self) -> float | None:
        """Share of the tokens asked for that were found; None where none were asked for."""
        asked = self.hit_tokens + self.missed_tokens
        return self.hit_tokens / asked if asked else None


def tier_facts(uses: Sequence[TierUse]) -> dict[str, dict[str, Any]]:
    """Return what each tier did, all its instances together; the peak is that of the fullest."""
    facts: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(use.tier for use in uses):
        mine = [use for use in uses if use.tier == name]
        hits = sum(use.hit_tokens for use in mine)
        asked = hits + sum(use.missed_tokens for use in mine)
        facts[name] = {
            "instances": len(mine),
            "hit_rate": hits / asked if asked else None,
            "hit_tokens": hits,
            "missed_tokens": asked - hits,
            "bytes_read": sum(use.bytes_read for use in mine),
            "bytes_written": sum(use.bytes_written for use in mine),
            "evictions": sum(use.evictions for use in mine),
            "peak_bytes": max(use.peak_bytes for use in mine),
        }
    return facts


class TierStore:
    """Blocks by key, within a capacity.

    Args:
        capacity: Bytes; None: without limit.
        policy: Chooses who leaves.
    """

    __slots__ = ("_policy", "_sizes", "capacity", "evictions", "peak", "used")

    def __init__(self, capacity: int | None, policy: EvictionPolicy) -> None:
        self.capacity = capacity
        self.used = self.peak = self.evictions = 0
        self._policy = policy
        self._sizes: dict[Hashable, int] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._sizes

    def __len__(self) -> int:
        return len(self._sizes)

    def touch(self, key: Hashable) -> None:
        """Note that a block that is there was asked for."""
        self._policy.touch(key)

    def enter(self, key: Hashable, size: int) -> None:
        """Take a block in, and let others leave for it; one larger than the store stays out."""
        if key in self._sizes:
            self._policy.touch(key)
            return
        if self.capacity is not None:
            if size > self.capacity:
                return
            while self.used + size > self.capacity:
                self._evict()
        self._sizes[key] = size
        self._policy.enter(key, size)
        self.used += size
        self.peak = max(self.peak, self.used)

    def _evict(self) -> None:
        gone = self._policy.victim()
        self.used -= self._sizes.pop(gone)
        self.evictions += 1

    def audit(self) -> None:
        """Check that the bytes counted are those of the blocks, and within the capacity.

        Raises:
            SimulationError: they are not.
        """
        held = sum(self._sizes.values())
        if held != self.used:
            raise SimulationError(f"a tier holds blocks of {held} bytes and counts {self.used}")
        if self.capacity is not None and self.peak > self.capacity:
            raise SimulationError(f"a tier of {self.capacity} bytes held {self.peak}")
