"""A block pool with one object for every block and one list of the free ones, as vLLM keeps it."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(eq=False)
class Block:
    key: Hashable = None
    users: int = 0


class ReferencePool:
    def __init__(self, num_blocks: int, caching: bool) -> None:
        self.caching = caching
        self.free = [Block() for _ in range(num_blocks)]
        self.cached: dict[Hashable, list[Block]] = {}

    def find(self, keys: list[Hashable]) -> list[Block]:
        found = []
        for key in keys:
            if not self.cached.get(key):
                break
            found.append(self.cached[key][0])
        return found

    def touch(self, blocks: list[Block]) -> None:
        for block in blocks:
            if block.users == 0:
                self.free.remove(block)
            block.users += 1

    def take(self, count: int) -> list[Block]:
        taken, self.free = self.free[:count], self.free[count:]
        for block in taken:
            if block.key is not None:
                self.cached[block.key].remove(block)
                block.key = None
            block.users = 1
        return taken

    def name(self, block: Block, key: Hashable) -> None:
        if self.caching and block.key is None:
            block.key = key
            self.cached.setdefault(key, []).append(block)

    def release(self, blocks: list[Block]) -> None:
        """Free blocks, tail first: those without a key to the front, the others to the end."""
        front, back = [], []
        for block in reversed(blocks):
            block.users -= 1
            if block.users == 0:
                (front if block.key is None else back).append(block)
        self.free = front[::-1] + self.free + back
