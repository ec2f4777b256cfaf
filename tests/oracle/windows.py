"""Sliding windows the naive way: a list of blocks for every group of layers of every request.

Written to be read next to vLLM's hybrid KV cache manager; `None` stands for its null block.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from tests.oracle.blocks import Block
from tests.oracle.reference import ReferenceReplica, Request


@dataclass
class Table:
    """The blocks of a request, and the tokens that others may resume from."""

    rows: list[list[Block | None]]
    boundaries: list[int] = field(default_factory=list)


class WindowedReference(ReferenceReplica):
    def __init__(self, *args, **options) -> None:
        super().__init__(*args, **options)
        self.groups = self.limits.kv_groups
        self.tables: dict[int, Table] = {}

    def is_sliding(self, group: int) -> bool:
        return group < self.groups.sliding

    @property
    def window_blocks(self) -> int:
        """The blocks a window needs of a prefix."""
        return (self.groups.window - 1 + self.block_size - 1) // self.block_size

    def skipped_blocks(self, computed: int) -> int:
        return max(0, computed - self.groups.window + 1) // self.block_size

    # -- finding --------------------------------------------------------------------------------

    def cached(self, group: int, key: Hashable) -> Block | None:
        blocks = self.pool.cached.get((group, key))
        return blocks[0] if blocks else None

    def find(self, request: Request) -> tuple[int, int, list[list[Block | None]]]:
        """Blocks of the hit, of the longest hit of full groups, and what each group has of it."""
        groups, size = self.groups, self.block_size
        rows: list[list[Block | None]] = [[] for _ in range(groups.total)]
        if not self.limits.enable_prefix_caching:
            return 0, 0, rows
        keys = [request.key(index) for index in range((request.known_tokens - 1) // size)]
        full, sliding = range(groups.sliding, groups.total), range(groups.sliding)
        longest = 0
        while longest < len(keys) and all(self.cached(g, keys[longest]) for g in full):
            longest += 1
        there = [all(self.cached(g, key) for g in sliding) for key in keys[:longest]]
        for end in range(longest, 0, -1):  # the last place that a whole window stands before
            first = end - self.window_blocks
            if all(there[max(0, first) : end]):
                break
        else:
            end = 0
        first = self.skipped_blocks(end * size)
        for group in range(groups.total):
            begin = first if self.is_sliding(group) else 0
            found = [self.cached(group, key) for key in keys[begin:end]]
            rows[group] = [None] * begin + found
        return end, longest if groups.full else end, rows

    def start(self, request: Request) -> int:
        return self.find(request)[0] * self.block_size

    # -- taking ---------------------------------------------------------------------------------

    def allocate(self, request: Request, tokens: int) -> bool:
        table = self.tables[request.id]
        for group, row in enumerate(table.rows):
            if self.is_sliding(group):
                end = min(self.skipped_blocks(request.computed), len(row))
                self.pool.release([block for block in row[:end] if block])
                row[:end] = [None] * end
        columns = self.blocks_for(request.computed + tokens)
        needed = sum(columns - len(row) for row in table.rows)
        if needed > len(self.pool.free):
            return False
        for row in table.rows:
            row.extend(self.pool.take(columns - len(row)))
        self.name_blocks(request, min(request.computed + tokens, request.known_tokens))
        return True

    def name_blocks(self, request: Request, tokens: int) -> None:
        table, size = self.tables[request.id], self.block_size
        reachable = set()
        for boundary in table.boundaries:
            end = boundary // size
            reachable |= set(range(end - self.window_blocks, end))
        for group, row in enumerate(table.rows):
            for index in range(tokens // size):
                block = row[index]
                if block and (index in reachable or not self.is_sliding(group)):
                    self.pool.name(block, (group, request.key(index)))

    def admit(self, request: Request, tokens: int) -> bool:
        limits, groups = self.limits, self.groups
        if len(self.running) + self.elsewhere >= limits.max_num_seqs:
            return False
        hit, longest, rows = self.find(request)
        blocks = [block for row in rows for block in row if block]
        idle = sum(block.users == 0 for block in blocks)
        columns = self.blocks_for(hit * self.block_size + tokens)
        needed = [groups.total * (columns - hit) + idle]
        if limits.reserve_full_prompt:
            whole = self.blocks_for(request.known_tokens)
            windows = max(0, min(whole, limits.window_blocks) - hit)
            needed.append(groups.full * (whole - hit) + groups.sliding * windows + idle)
        reserve = limits.watermark_blocks if self.running or self.elsewhere else 0
        if max(needed) + reserve > len(self.pool.free):
            return False
        self.waiting.remove(request)
        self.running.append(request)
        request.running = True
        self.pool.touch(blocks)
        boundaries = [request.prompt - 1]
        if longest > hit:
            boundaries.append(longest * self.block_size)
        self.tables[request.id] = Table(rows, boundaries)
        request.computed = hit * self.block_size
        assert self.allocate(request, tokens)
        self.batch.append((request, tokens))
        return True

    def release(self, request: Request) -> None:
        for row in self.tables.pop(request.id).rows:
            self.pool.release([block for block in row if block])

    def committed_blocks(self) -> int:
        used = self.limits.num_blocks - len(self.pool.free)
        return used + sum(self.limits.most_blocks(r.known_tokens) for r in self.waiting)
