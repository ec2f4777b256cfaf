"""The KV blocks of the sequences of one engine: what each shares, keeps, and lets go.

A sequence holds the blocks of its tokens, the last one perhaps partly filled. The leading ones
whose content others may ask for are known to the pool one by one (`Sequence.held`); of the rest
only the number counts, and that follows from its tokens. The blocks of a sequence in transfer are
parked here, apart from those that run.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from collections.abc import Sequence as Sequence_
from dataclasses import dataclass

from hermes.sim.kv_cache import BlockPool, CachedBlock
from hermes.sim.limits import EngineLimits
from hermes.sim.sequence import Sequence

__all__ = ["Holdings", "Parked"]


@dataclass(slots=True)
class Parked:
    """The blocks of a sequence in transfer.

    Attributes:
        tokens: Whose KV they hold, or will.
        slots: Tokens that there are blocks for; at least `tokens`.
        held: The leading blocks that others may find.
    """

    tokens: int
    slots: int
    held: list[CachedBlock]


class Holdings:
    """Which blocks the sequences of an engine hold.

    Args:
        limits: Bounds of the engine.
    """

    __slots__ = ("limits", "parked", "pool")

    def __init__(self, limits: EngineLimits) -> None:
        self.limits = limits
        self.pool = BlockPool(limits.num_blocks, limits.enable_prefix_caching)
        self.parked: dict[int, Parked] = {}  # by request, in the order in which they came

    # -- what a sequence holds ------------------------------------------------------------------

    def slots(self, sequence: Sequence) -> int:
        """Return the tokens that a sequence which is in no decode group has blocks for."""
        return sequence.computed + sequence.granted

    def blocks_of(self, sequence: Sequence) -> int:
        """Return the blocks of a sequence that is in no decode group."""
        return self.limits.blocks_for(self.slots(sequence))

    def known(self, sequence: Sequence) -> list[CachedBlock]:
        """Return the blocks of a running sequence that others may find."""
        return sequence.held

    # -- what others may find -------------------------------------------------------------------

    def cached_blocks(self, keys: Iterable[Hashable]) -> int:
        """Return how many blocks of a prompt, given by their keys from its start, are cached."""
        return len(self.pool.find(keys))

    def cached_head(self, sequence: Sequence) -> list[CachedBlock]:
        """Return the cached blocks a waiting sequence could start from; its last token is never."""
        if not self.pool.caching or not (sequence.prefix or sequence.preemptions):
            return []
        full = (sequence.target - 1) // self.limits.block_size
        return self.pool.find(sequence.block_key(block) for block in range(full))

    def share(self, sequence: Sequence, tokens: int) -> None:
        """Make the full blocks of `tokens` tokens known, as far as others may ask for them."""
        held = sequence.held
        if not self.pool.caching or len(held) >= len(sequence.prefix):
            return
        full = min(tokens // self.limits.block_size, len(sequence.prefix))
        held.extend(self.pool.enter(sequence.prefix[block]) for block in range(len(held), full))

    def warm(self, keys: Sequence_[Hashable]) -> None:
        """Let blocks lie in the cache as if a sequence had just gone that held them.

        Only before anything runs, and no more than fit.
        """
        pool = self.pool
        head = pool.find(keys)
        pool.hold(head)
        pool.take(len(keys) - len(head))
        own = [pool.enter(key) for key in keys[len(head) :]]
        pool.release(reversed(head + own))

    # -- letting go -----------------------------------------------------------------------------

    def retire(self, sequence: Sequence) -> None:
        """Free the blocks of a sequence that is done; what it sampled stays known like its prompt.

        vLLM makes a block known when it is full, also while its sequence decodes; here those that
        hold sampled tokens are known from the end on.
        """
        if sequence.prefix:
            self.share(sequence, sequence.computed)
        self._free(sequence.computed, sequence.held)
        sequence.held = []

    def let_go(self, sequence: Sequence) -> None:
        """Free the blocks of a preempted sequence, keeping what it can come back to."""
        blocks, held, full = self.blocks_of(sequence), sequence.held, 0
        if self.pool.caching:
            known = min(sequence.computed + sequence.granted, sequence.target)
            full = known // self.limits.block_size
        self.pool.give_back(blocks - max(full, len(held)))
        own = [self.pool.enter(sequence.block_key(block)) for block in range(len(held), full)]
        self.pool.release(reversed(held + own))
        sequence.held = []
        sequence.computed = 0

    def _free(self, tokens: int, held: list[CachedBlock]) -> None:
        """Free the blocks of `tokens` tokens, of which some are known to others."""
        full, rest = divmod(tokens, self.limits.block_size)
        if rest:
            self.pool.give_back(1)
        self.pool.retire(full - len(held))
        if held:
            self.pool.release(reversed(held))

    # -- in transfer ----------------------------------------------------------------------------

    def park(self, sequence: Sequence) -> None:
        """Put the blocks of a sequence whose prompt is done aside, until its KV has left."""
        slots = self.slots(sequence)
        self.parked[sequence.request_id] = Parked(sequence.computed, slots, sequence.held)
        sequence.held = []

    def reserve(
        self, sequence: Sequence, tokens: int, head: list[CachedBlock] | None = None
    ) -> None:
        """Take the blocks for `tokens` tokens of a sequence whose KV is to come, after its head."""
        head = head or []
        self.pool.hold(head)
        self.pool.take(self.limits.blocks_for(tokens) - len(head))
        self.parked[sequence.request_id] = Parked(tokens, tokens, head)

    def filled(self, sequence: Sequence) -> int:
        """Make the parked blocks of a sequence, whose KV has come, known; return their tokens."""
        parked = self.parked[sequence.request_id]
        sequence.held = parked.held
        self.share(sequence, parked.tokens)
        parked.held, sequence.held = sequence.held, []
        return parked.tokens

    def unpark(self, sequence: Sequence) -> Parked:
        """Give the parked blocks back to their sequence; return them."""
        parked = self.parked.pop(sequence.request_id)
        sequence.held = parked.held
        return parked

    def lose_parked(self) -> None:
        """Free the blocks of all sequences in transfer."""
        for parked in self.parked.values():
            self._free_parked(parked)
        self.parked.clear()

    def sent(self, sequence: Sequence) -> None:
        """Free the parked blocks of a sequence whose KV has arrived elsewhere."""
        self._free_parked(self.parked.pop(sequence.request_id))

    def _free_parked(self, parked: Parked) -> None:
        blocks_for = self.limits.blocks_for
        self.pool.give_back(blocks_for(parked.slots) - blocks_for(parked.tokens))
        self._free(parked.tokens, parked.held)
