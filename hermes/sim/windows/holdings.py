"""KV blocks in several groups of layers, of which some keep only what their window reaches.

Follows vLLM's hybrid KV cache manager (v1, 0.33). A prefix is found where all groups have it: the
full ones from its first block on, those with a window the last blocks that the window reaches. As
vLLM does by default (`prefix_cache_retention_interval` 0), groups with a window make only the
blocks known that a later request can resume from: the last ones before the prompt's last token,
and before the point up to which the full groups have found a prefix that they had forgotten.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from collections.abc import Sequence as Sequence_
from dataclasses import dataclass, field

from hermes.costs.kv_groups import KvGroups
from hermes.sim.holdings import Holdings
from hermes.sim.kv_cache import CachedBlock
from hermes.sim.limits import EngineLimits
from hermes.sim.sequence import Sequence

__all__ = ["Hit", "WindowHoldings"]


@dataclass(slots=True)
class Hit:
    """A prefix found in the cache.

    Attributes:
        blocks: How many blocks long it is.
        longest: How many the full groups have.
        windows: For each group with a window, the blocks it reaches, by number.
        full: For each full group, all its blocks.
    """

    blocks: int = 0
    longest: int = 0
    windows: list[dict[int, CachedBlock]] = field(default_factory=list)
    full: list[list[CachedBlock]] = field(default_factory=list)

    def all(self) -> list[CachedBlock]:
        """Return the blocks of all groups."""
        found = [block for group in self.windows for block in group.values()]
        return found + [block for group in self.full for block in group]


@dataclass(slots=True)
class _Table:
    """What a sequence holds that is known, and how much of its windows will be."""

    hit: Hit
    ends: list[int]  # block numbers before which windows are kept


class WindowHoldings(Holdings):
    """Which blocks the sequences of an engine hold, in all groups; see `Holdings`."""

    __slots__ = ("_need", "_tables", "groups")

    def __init__(self, limits: EngineLimits, groups: KvGroups) -> None:
        super().__init__(limits)
        self.groups = groups
        self._need = -(-(groups.window - 1) // limits.block_size)  # blocks that a window reaches
        self._tables: dict[int, _Table] = {}

    def skipped(self, context: int) -> int:
        """Return the blocks that the window of the token after `context` others does not reach."""
        return max(0, context - self.groups.window + 1) // self.limits.block_size

    def blocks_of(self, sequence: Sequence) -> int:
        """Return the blocks of a sequence that is in no decode group; see `Holdings`."""
        groups = self.groups
        return groups.total * super().blocks_of(sequence) - groups.sliding * sequence.slid

    def known(self, sequence: Sequence) -> list[CachedBlock]:
        """Return the blocks of a running sequence that others may find; see `Holdings`."""
        table = self._tables.get(sequence.request_id)
        return table.hit.all() if table else []

    # -- what others may find -------------------------------------------------------------------

    def cached_blocks(self, keys: Iterable[Hashable]) -> int:
        """Return how many blocks of a prompt all groups can resume from; see `Holdings`."""
        return self._find(list(keys)).blocks

    def hit(self, sequence: Sequence) -> Hit:
        """Return what a waiting sequence could start from; its last token is never."""
        if not self.pool.caching or not (sequence.prefix or sequence.preemptions):
            return Hit()
        full = (sequence.target - 1) // self.limits.block_size
        return self._find([sequence.block_key(block) for block in range(full)])

    def _find(self, keys: Sequence_[Hashable]) -> Hit:
        groups, longest = self.groups, len(keys)
        full: list[list[CachedBlock]] = []
        for group in range(groups.sliding, groups.total):
            full.append(self.pool.find((group, key) for key in keys[:longest]))
            longest = len(full[-1])
        windows, blocks = self._find_windows(keys, longest)
        if not groups.full:
            longest = blocks
        return Hit(blocks, longest, windows, [found[:blocks] for found in full])

    def _find_windows(
        self, keys: Sequence_[Hashable], most: int
    ) -> tuple[list[dict[int, CachedBlock]], int]:
        """Return the last blocks within `most` that a window could go on from, and their end."""
        sliding = self.groups.sliding
        run: list[list[CachedBlock]] = []  # backwards
        end = 0
        for number in range(most - 1, -1, -1):
            found = [self.pool.get((group, keys[number])) for group in range(sliding)]
            column = [block for block in found if block is not None]
            if len(column) < sliding:
                run = []
                continue
            if not run:
                end = number + 1
            run.append(column)
            if len(run) >= self._need:
                break
        if not run:
            return [{} for _ in range(sliding)], 0
        first = max(end - len(run), self.skipped(end * self.limits.block_size))
        numbered = [(end - 1 - i, column) for i, column in enumerate(run) if end - 1 - i >= first]
        return [{i: column[group] for i, column in numbered} for group in range(sliding)], end

    def admit(self, sequence: Sequence, hit: Hit) -> None:
        """Let a sequence hold what was found for it."""
        blocks = hit.all()
        self.pool.hold(blocks)
        sequence.slid = self.skipped(hit.blocks * self.limits.block_size)
        if not self.pool.caching:
            return
        if not hit.windows:
            hit.windows = [{} for _ in range(self.groups.sliding)]
            hit.full = [[] for _ in range(self.groups.full)]
        ends = [(sequence.prompt_tokens - 1) // self.limits.block_size]
        if hit.longest > hit.blocks:
            ends.append(hit.longest)
        self._tables[sequence.request_id] = _Table(hit, ends)

    def share(self, sequence: Sequence, tokens: int) -> None:
        """Make the full blocks of `tokens` tokens known; see `Holdings`."""
        table = self._tables.get(sequence.request_id)
        if table is None or not sequence.prefix:
            return
        groups = self.groups
        full = min(tokens // self.limits.block_size, len(sequence.prefix))
        for group, held in enumerate(table.hit.windows):
            for block in self._kept(table, sequence.slid, full):
                if block not in held and block >= table.hit.blocks:
                    held[block] = self.pool.enter((group, sequence.prefix[block]))
        for number, row in enumerate(table.hit.full):
            group = groups.sliding + number
            for block in range(len(row), full):
                row.append(self.pool.enter((group, sequence.prefix[block])))

    def _kept(self, table: _Table, begin: int, end: int) -> list[int]:
        """Return which of some blocks become known in groups with a window."""
        need = self._need
        kept = {
            block for stop in table.ends for block in range(max(begin, stop - need), min(end, stop))
        }
        return sorted(kept)

    def warm(self, keys: Sequence_[Hashable]) -> None:
        """Let blocks lie in the cache as if a prompt had just gone that held them."""
        first = max(0, len(keys) - self._need)
        for group in range(self.groups.total):
            kept = keys[first:] if group < self.groups.sliding else keys
            held = [self.pool.get((group, key)) for key in kept]
            self.pool.hold([block for block in held if block is not None])
            self.pool.take(held.count(None))
            own = [
                block or self.pool.enter((group, key))
                for block, key in zip(held, kept, strict=True)
            ]
            self.pool.release(reversed(own))

    # -- letting go -----------------------------------------------------------------------------

    def slide(self, sequence: Sequence, begin: int, end: int) -> None:
        """Free blocks that windows leave behind, in every group that has one."""
        if end <= begin:
            return
        table = self._tables.get(sequence.request_id)
        if table is None:
            self.pool.give_back((end - begin) * self.groups.sliding)
            return
        self._free_windows(sequence, table, begin, end, end)

    def _free_windows(
        self, sequence: Sequence, table: _Table, begin: int, end: int, full: int
    ) -> None:
        """Free some blocks of the groups with a window, of which those before `full` are full."""
        own = set(self._kept(table, begin, min(end, full)))
        for group, held in enumerate(table.hit.windows):
            freed: list[CachedBlock] = []
            for block in range(end - 1, begin - 1, -1):
                if block in held:
                    freed.append(held.pop(block))
                elif block in own:
                    freed.append(self.pool.enter((group, sequence.block_key(block))))
            self.pool.give_back(end - begin - len(freed))
            self.pool.release(freed)

    def retire(self, sequence: Sequence) -> None:
        """Free the blocks of a sequence that is done; see `Holdings`."""
        if sequence.prefix:
            self.share(sequence, sequence.computed)
        self._free_all(sequence, sequence.computed, sequence.computed, again=False)

    def let_go(self, sequence: Sequence) -> None:
        """Free the blocks of a preempted sequence; see `Holdings`."""
        slots = sequence.computed + sequence.granted
        self._free_all(sequence, slots, min(slots, sequence.target), again=True)
        sequence.computed = 0

    def _free_all(self, sequence: Sequence, slots: int, tokens: int, again: bool) -> None:
        """Free all blocks, for `slots` tokens of which `tokens` are known.

        Args:
            sequence: Whose they are.
            slots: Tokens they have room for.
            tokens: Tokens they hold that are known.
            again: Whether the sequence will look for them again.
        """
        size, groups = self.limits.block_size, self.groups
        blocks, full = -(-slots // size), tokens // size
        table = self._tables.pop(sequence.request_id, None)
        if table is None:
            self.pool.give_back(groups.total * blocks - groups.sliding * sequence.slid)
        else:
            self._free_windows(sequence, table, sequence.slid, blocks, full)
            for number, row in enumerate(table.hit.full):
                self.pool.give_back(blocks - max(full, len(row)))
                if again:
                    group = groups.sliding + number
                    row += [
                        self.pool.enter((group, sequence.block_key(block)))
                        for block in range(len(row), full)
                    ]
                self.pool.retire(full - len(row))
                self.pool.release(reversed(row))
        sequence.slid = 0
