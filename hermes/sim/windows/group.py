"""Decoding sequences of which windows leave blocks behind.

What a `DecodeGroup` does for the blocks that members take, this one does for those they give back
as well: a member whose context is past the window gives some back at every step of one residue
class modulo the block size. A step is then still O(1); what is known of single blocks, with prefix
caching, is given back one by one.
"""

from __future__ import annotations

from heapq import heappop, heappush

from hermes.sim.decode_group import DecodeGroup
from hermes.sim.sequence import Sequence

__all__ = ["WindowGroup"]


class WindowGroup(DecodeGroup):
    """Members, and which blocks their windows have left behind.

    Args:
        block_size: Tokens of a block.
        window: Tokens that a window holds.
        named: Whether members are asked for one by one, and not only counted.
    """

    __slots__ = (
        "_formed",
        "_fresh",
        "_named",
        "_passing",
        "_past",
        "_slides",
        "_sliding",
        "_walked",
        "grown",
        "has_slid",
        "taken",
        "window",
    )

    def __init__(self, block_size: int, window: int, named: bool) -> None:
        super().__init__(block_size)
        self.window = window
        self.has_slid = False  # blocks may have been left behind in the latest step
        self.grown = False  # the blocks of the coming step are taken, and given back
        self.taken: set[int] = set()  # tickets of those that have them, while not all have
        self._named = named
        self._formed = -1  # the step last grown for
        self._fresh: dict[int, Sequence] = {}  # by ticket: joined since, with blocks to give back
        self._walked: dict[int, int] = {}  # by ticket: blocks left behind, while not all are grown
        self._past = 0  # members that give blocks back
        self._slides = [0] * block_size  # of them, how many do so in which steps
        self._sliding: list[list[tuple[int, Sequence]]] = [[] for _ in range(block_size)]
        self._passing: list[tuple[int, int, Sequence]] = []  # when others will begin to

    # -- who is past the window -----------------------------------------------------------------

    def skipped(self, context: int) -> int:
        """Return the blocks that the window of the token after `context` others does not reach."""
        return max(0, context - self.window + 1) // self.block_size

    def slid(self, sequence: Sequence) -> int:
        """Return the blocks that the windows of a member have left behind."""
        ticket = sequence.ticket
        if ticket in self._walked:
            return self._walked[ticket]
        if ticket in self._fresh:
            return sequence.slid
        context = self.context_of(sequence)
        return self.skipped(context if self.grown else context - 1)

    def join(self, sequence: Sequence) -> None:
        """Add a sequence; see `DecodeGroup`."""
        super().join(sequence)
        self._fresh[sequence.ticket] = sequence

    def leave(self, sequence: Sequence) -> None:
        """Remove a member, writing back what it has left behind; see `DecodeGroup`."""
        sequence.slid = self.slid(sequence)
        fresh = self._fresh.pop(sequence.ticket, None)
        begin = self._first_slide(sequence)
        if fresh is None and begin <= self._formed:
            self._past -= 1
            self._slides[begin % self.block_size] -= 1
        super().leave(sequence)

    def _first_slide(self, sequence: Sequence) -> int:
        """Return the step at which a member is the first time past the window by a block."""
        begin = sequence.join_step - sequence.computed
        return begin + self.window - 1 + self.block_size

    def _pass(self, ticket: int, sequence: Sequence, begin: int) -> None:
        residue = begin % self.block_size
        self._past += 1
        self._slides[residue] += 1
        if self._named:
            self._sliding[residue].append((ticket, sequence))

    # -- growing for a step ---------------------------------------------------------------------

    def begin_growth(self) -> None:
        """Turn to the coming step, of which no member has its blocks yet."""
        self.grown = False
        self.taken.clear()
        self._walked.clear()
        self._formed = self.step
        heap = self._passing
        while heap and heap[0][0] <= self.step:
            begin, ticket, sequence = heappop(heap)
            if sequence.ticket == ticket:
                self._pass(ticket, sequence, begin)

    def end_growth(self) -> None:
        """Hold all members for grown, those too that joined since the step before."""
        self.has_slid = bool(self._fresh or self._slides[self.step % self.block_size])
        for ticket, sequence in self._fresh.items():
            begin = self._first_slide(sequence)
            if begin <= self.step:
                self._pass(ticket, sequence, begin)
            else:
                heappush(self._passing, (begin, ticket, sequence))
        self._fresh.clear()
        self._walked.clear()
        self.taken.clear()
        self.grown = True

    def walk(self, sequence: Sequence) -> tuple[int, int]:
        """Let a member's windows slide for the coming step; return from and to which block."""
        before, after = self.slid(sequence), self.skipped(self.context_of(sequence))
        self._walked[sequence.ticket] = after
        return before, after

    def crosses(self, sequence: Sequence) -> bool:
        """Whether a member needs new blocks in the coming step."""
        return self.context_of(sequence) % self.block_size == 0

    def slides_due(self) -> int:
        """Return the blocks that all members together leave behind in the coming step."""
        fresh = sum(
            self.skipped(self.context_of(sequence)) - sequence.slid
            for sequence in self._fresh.values()
        )
        return fresh + self._slides[self.step % self.block_size]

    def sliders(self, ahead: int = 0) -> list[Sequence]:
        """Return who leaves blocks behind, in the running order, `ahead` steps from now."""
        residue = (self.step + ahead) % self.block_size
        alive = [entry for entry in self._sliding[residue] if entry[1].ticket == entry[0]]
        self._sliding[residue] = alive
        members = [] if ahead else list(self._fresh.items())
        return [sequence for _, sequence in sorted(members + alive, key=_ticket)]

    # -- many steps -----------------------------------------------------------------------------

    def run(self, steps: int) -> int:
        """Let every member decode; see `DecodeGroup`."""
        self.grown = False
        return super().run(steps)

    def slides(self, steps: int) -> int:
        """Return the blocks left behind in `steps` repetitions of the step now grown for."""
        cycles, rest = divmod(steps, self.block_size)
        start = self.step + 1
        partial = sum(self._slides[(start + i) % self.block_size] for i in range(rest))
        return cycles * self._past + partial

    @property
    def sliding(self) -> bool:
        """Whether members leave blocks behind as they go on."""
        return self._past > 0

    def steps_to_slide(self) -> int:
        """Return in how many steps blocks are left behind next; 0 where none will be."""
        if not self._past:
            return 0
        slides, size, step = self._slides, self.block_size, self.step
        return next(ahead for ahead in range(1, size + 1) if slides[(step + ahead) % size])

    def steps_to_pass(self) -> int:
        """Return after how many steps another member is past the window; 0 where none will be."""
        heap = self._passing
        while heap and heap[0][2].ticket != heap[0][1]:
            heappop(heap)
        return heap[0][0] - self.step if heap else 0


def _ticket(entry: tuple[int, Sequence]) -> int:
    return entry[0]
