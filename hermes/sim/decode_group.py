"""The sequences of a replica that decode, without touching each at each step.

While a set of sequences decodes, every one of them gains a token a step. So the group counts
steps, and derives the rest: a member's context is what it brought plus the steps since it joined;
it finishes at a step known when it joins; it needs a KV block at every step of one residue class
modulo the block size. Joining, leaving and finishing cost O(log n), a step O(1), and many steps
with the same members cost no more than one.
"""

from __future__ import annotations

from heapq import heappop, heappush

from hermes.sim.sequence import Sequence

__all__ = ["DecodeGroup"]


class DecodeGroup:
    """Members, their summed context, and when each finishes or crosses a block boundary."""

    __slots__ = ("_finishes", "_residues", "block_size", "context", "finish_sum", "size", "step")

    def __init__(self, block_size: int) -> None:
        self.block_size = block_size
        self.size = 0
        self.context = 0
        self.step = 0
        self.finish_sum = 0  # of the members' finish steps
        self._finishes: list[tuple[int, int, Sequence]] = []
        self._residues = [0] * block_size

    def join(self, sequence: Sequence) -> None:
        """Add a sequence that has sampled a token and has more to decode."""
        sequence.join_step = self.step
        sequence.finish_step = self.step + sequence.final_context - sequence.computed
        heappush(self._finishes, (sequence.finish_step, sequence.ticket, sequence))
        self.size += 1
        self.context += sequence.computed
        self.finish_sum += sequence.finish_step
        self._residues[(self.step - sequence.computed) % self.block_size] += 1

    def leave(self, sequence: Sequence) -> None:
        """Remove a member, writing its progress back to it; its heap entry dies with its ticket."""
        self._residues[(sequence.join_step - sequence.computed) % self.block_size] -= 1
        sequence.computed += self.step - sequence.join_step
        self.finish_sum -= sequence.finish_step
        self.size -= 1
        self.context -= sequence.computed

    def advance(self, steps: int) -> None:
        """Let every member decode `steps` tokens."""
        self.step += steps
        self.context += steps * self.size

    def run(self, steps: int) -> int:
        """Let every member decode `steps` tokens; return the blocks of all steps but the first."""
        step, blocks = self.step, 0
        if steps > 1:
            cycles, rest = divmod(steps - 1, self.block_size)
            start = (step + 1) % self.block_size
            end = start + rest
            blocks = cycles * self.size + sum(self._residues[start:end])
            if end > self.block_size:
                blocks += sum(self._residues[: end - self.block_size])
        self.step = step + steps
        self.context += steps * self.size
        return blocks

    def gained(self, steps: int) -> int:
        """Return the tokens that all members together gain in `steps` more steps."""
        return steps * self.size

    def remaining_tokens(self) -> int:
        """Return the tokens that all members have yet to sample."""
        return self.finish_sum - self.step * self.size

    @property
    def tokens(self) -> int:
        """Tokens that the next step computes."""
        return self.size

    @property
    def due(self) -> bool:
        """Whether a member has sampled its last token."""
        heap = self._finishes
        return bool(heap) and heap[0][0] <= self.step

    @property
    def next_blocks(self) -> int:
        """The KV blocks that the next step takes."""
        return self._residues[self.step % self.block_size]

    def pop_finished(self) -> list[Sequence]:
        """Remove and return the members that sampled their last token, oldest first."""
        finished: list[Sequence] = []
        heap = self._finishes
        while heap and heap[0][0] <= self.step:
            _, ticket, sequence = heappop(heap)
            if sequence.ticket == ticket:
                self.leave(sequence)
                finished.append(sequence)
        return finished

    def context_of(self, sequence: Sequence) -> int:
        """Return the tokens of a member whose KV is in the cache."""
        return sequence.computed + self.step - sequence.join_step

    def sequences(self) -> list[Sequence]:
        """Return the members, in no order that means anything."""
        return [s for _, ticket, s in self._finishes if s.ticket == ticket]

    def steps_to_finish(self) -> int:
        """Return after how many steps the next member finishes; the group must not be empty."""
        heap = self._finishes
        while heap[0][2].ticket != heap[0][1]:
            heappop(heap)
        return heap[0][0] - self.step

    def blocks_needed(self, steps: int, after: int = 0) -> int:
        """Return the KV blocks that `steps` steps take, once `after` steps have passed."""
        residues, size, start = self._residues, self.block_size, self.step + after
        cycles, rest = divmod(steps, size)
        start %= size
        wrapped = start + rest - size
        partial = sum(residues[start : start + rest])
        if wrapped > 0:
            partial += sum(residues[:wrapped])
        return cycles * self.size + partial

    def stretch(self, free_blocks: int) -> int:
        """Return for how many steps all members can go on; 0 where that is not even one."""
        if not self.size:
            return 0
        heap = self._finishes
        while heap[0][2].ticket != heap[0][1]:
            heappop(heap)
        steps = heap[0][0] - self.step
        if (steps // self.block_size + 1) * self.size <= free_blocks:
            return steps
        needed = self.next_blocks
        if needed > free_blocks:
            return 0
        return 1 + self.steps_within(free_blocks - needed, steps - 1, after=1)

    def steps_within(self, free_blocks: int, limit: int, after: int = 0) -> int:
        """Return how many of `limit` steps, once `after` have passed, `free_blocks` suffice for."""
        most = (limit // self.block_size + 1) * self.size
        if most <= free_blocks or self.blocks_needed(limit, after) <= free_blocks:
            return limit
        cycles, left = divmod(free_blocks, self.size)
        steps = cycles * self.block_size
        while left >= 0:
            left -= self._residues[(self.step + after + steps) % self.block_size]
            steps += 1
        return steps - 1
