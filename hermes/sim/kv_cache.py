"""The paged KV cache of one replica: free blocks, and the prefixes that still lie in them.

Follows vLLM's block pool (v1, 0.33). Blocks without a known content are reused first; blocks that
hold a cached prefix are kept until nothing else is free, and then evicted in the order they were
last let go, the tail of a sequence before its head. So all free blocks that hold nothing are one
number, and only the others are kept in order.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import ClassVar

__all__ = ["BlockPool", "CachedBlock"]


class CachedBlock:
    """A full block whose content others may find by its key."""

    __slots__ = ("key", "users")

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.users = 1

    def __repr__(self) -> str:
        return f"<CachedBlock {self.key!r} used by {self.users}>"


class _Retired:
    """Full blocks whose content nobody can ask for again; they wait for their turn."""

    __slots__ = ("blocks",)

    def __init__(self, blocks: int) -> None:
        self.blocks = blocks


class BlockPool:
    """The blocks of a cache.

    Args:
        num_blocks: How many there are.
        caching: Whether freed blocks keep their content until they are reused.
    """

    __slots__ = (
        "_blank",
        "_idle",
        "_index",
        "_kept",
        "_last_retired",
        "caching",
        "evicted",
        "num_blocks",
    )

    accounts: ClassVar[bool] = True
    """Whether what is free follows from what is taken and given back here."""

    def __init__(self, num_blocks: int, caching: bool) -> None:
        self.num_blocks = num_blocks
        self.caching = caching
        self._blank = num_blocks  # free, holding nothing
        self._kept = 0  # free, holding a cached content
        self.evicted: list[Hashable] | None = None  # keys, where somebody wants to know
        self._idle: OrderedDict[CachedBlock | _Retired, None] = OrderedDict()  # next evicted first
        self._last_retired: _Retired | None = None  # where it is the last of `_idle`
        self._index: dict[Hashable, list[CachedBlock]] = {}

    @property
    def free(self) -> int:
        """Blocks that can be taken."""
        return self._blank + self._kept

    @property
    def blank(self) -> int:
        """Blocks that can be taken and hold nothing."""
        return self._blank

    def take(self, blocks: int) -> None:
        """Take free blocks, evicting cached contents when no others are left."""
        self._blank -= blocks
        if self._blank < 0:
            self._evict(-self._blank)
            self._blank = 0

    def give_back(self, blocks: int) -> None:
        """Free blocks that hold no full content."""
        self._blank += blocks

    def retire(self, blocks: int) -> None:
        """Free full blocks whose content nobody can ask for again."""
        if not self._idle:
            self._blank += blocks  # nothing is kept that would be evicted after them
        elif blocks:
            self._kept += blocks
            if self._last_retired is None:
                self._last_retired = _Retired(0)
                self._idle[self._last_retired] = None
            self._last_retired.blocks += blocks

    def forget(self) -> None:
        """Lose all contents, when no block is in use."""
        self._blank, self._kept = self.num_blocks, 0
        self._idle.clear()
        self._last_retired = None
        self._index.clear()

    # -- cached contents ------------------------------------------------------------------------

    def find(self, keys: Iterable[Hashable]) -> list[CachedBlock]:
        """Return the cached blocks of the longest known head of `keys`."""
        found: list[CachedBlock] = []
        index = self._index
        for key in keys:
            blocks = index.get(key)
            if not blocks:
                break
            found.append(blocks[0])
        return found

    def get(self, key: Hashable) -> CachedBlock | None:
        """Return the cached block of a key, the one known longest; None where there is none."""
        blocks = self._index.get(key)
        return blocks[0] if blocks else None

    def enter(self, key: Hashable) -> CachedBlock:
        """Make a block just filled, and in use, known by its key."""
        block = CachedBlock(key)
        self._index.setdefault(key, []).append(block)
        return block

    def hold(self, blocks: Iterable[CachedBlock]) -> None:
        """Add a user to cached blocks; those that were free are so no more."""
        for block in blocks:
            if block.users == 0:
                del self._idle[block]
                self._kept -= 1
            block.users += 1

    def release(self, blocks: Iterable[CachedBlock]) -> None:
        """Remove a user from cached blocks, the first of them to be evicted first."""
        for block in blocks:
            block.users -= 1
            if block.users == 0:
                self._idle[block] = None
                self._last_retired = None
                self._kept += 1

    def idle(self, blocks: Iterable[CachedBlock]) -> int:
        """Return how many of some cached blocks are free, and would be so no more when held."""
        return sum(block.users == 0 for block in blocks)

    def _evict(self, blocks: int) -> None:
        self._kept -= blocks
        while blocks:
            entry = next(iter(self._idle))
            if isinstance(entry, _Retired):
                gone = min(blocks, entry.blocks)
                entry.blocks -= gone
                if not entry.blocks:
                    del self._idle[entry]
                    if entry is self._last_retired:
                        self._last_retired = None
                blocks -= gone
                continue
            del self._idle[entry]
            twins = self._index[entry.key]
            twins.remove(entry)
            if not twins:
                del self._index[entry.key]
                if self.evicted is not None:
                    self.evicted.append(entry.key)
            blocks -= 1
