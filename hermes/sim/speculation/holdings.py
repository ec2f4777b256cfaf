"""Blocks of sequences that verify drafts: they have blocks for more tokens than they hold.

What rejected drafts leave behind is not given back, and is used by the next step; so `slots`, the
tokens that a sequence has blocks for, is kept with it.
"""

from __future__ import annotations

from hermes.sim.holdings import Holdings
from hermes.sim.sequence import Sequence

__all__ = ["SlotHoldings"]


class SlotHoldings(Holdings):
    """Which blocks the sequences of an engine hold; see `Holdings`."""

    __slots__ = ()

    def slots(self, sequence: Sequence) -> int:
        """Return the tokens that a sequence which is in no decode group has blocks for."""
        return sequence.slots

    def retire(self, sequence: Sequence) -> None:
        """Free the blocks of a sequence that is done; see `Holdings`."""
        blocks_for = self.limits.blocks_for
        self.pool.give_back(blocks_for(sequence.slots) - blocks_for(sequence.computed))
        super().retire(sequence)

    def let_go(self, sequence: Sequence) -> None:
        """Free the blocks of a preempted sequence; see `Holdings`."""
        super().let_go(sequence)
        sequence.slots = 0
