"""Sequences that decode in step with a clock of tokens: `expected` acceptance.

All members gain the same tokens in a step: so many that after `s` steps the clock shows the mean
gain times `s`, rounded down. So what `DecodeGroup` derives from a count of steps still holds, with
tokens for steps, and a step costs O(1) however many sequences take part.

A member holds KV blocks for its context, the tokens of the step and the lookahead, and no blocks
are given back when drafts are rejected. So blocks are taken for a stretch of positions that lies
ahead of the clock by a fixed width. Where the longest context cuts that short, sequences are
looked at one by one: those that end within the width of it, and no others.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from heapq import heappop, heappush
from operator import itemgetter

from hermes.costs.speculation import StepLoad
from hermes.sim.decode_group import DecodeGroup
from hermes.sim.limits import EngineLimits
from hermes.sim.sequence import Sequence

__all__ = ["ClockedGroup"]


class ClockedGroup(DecodeGroup):
    """Members, their summed context, and when each finishes or crosses a block boundary.

    Args:
        limits: Bounds of the engine.
        mean: Tokens that a step gives on average.
    """

    __slots__ = (
        "_cap",
        "_capped",
        "_debt",
        "_den",
        "_fresh",
        "_limits",
        "_num",
        "_regular",
        "_steps",
        "_width",
        "ahead",
        "grown",
        "surplus",
    )

    def __init__(self, limits: EngineLimits, mean: Fraction) -> None:
        super().__init__(limits.block_size)
        self._limits = limits
        self._num, self._den = mean.numerator, mean.denominator
        self._width = limits.decode_tokens + limits.lookahead
        # a step leaves room for the token it samples; drafting may run to the very end
        self._cap = limits.max_model_len - (0 if limits.lookahead else 1)
        self._steps = 0
        self._regular = 0  # members that the residues count
        self._capped: dict[int, Sequence] = {}  # by ticket: those the longest context cuts short
        self._fresh: dict[int, Sequence] = {}  # by ticket: those with no decode step's blocks yet
        self._debt = 0  # blocks that the fresh ones need
        self.grown = False  # the blocks of the next step are taken
        self.ahead: set[int] = set()  # tickets of those whose are, while not all members' are
        self.surplus = 0  # tokens that members gained after their last one, which are dropped

    # -- members --------------------------------------------------------------------------------

    def join(self, sequence: Sequence) -> None:
        """Add a sequence that has sampled a token and has more to decode."""
        sequence.join_step = self.step
        sequence.finish_step = self.step + sequence.final_context - sequence.computed
        heappush(self._finishes, (sequence.finish_step, sequence.ticket, sequence))
        self.size += 1
        self.context += sequence.computed
        self.finish_sum += sequence.finish_step
        if self.grown:
            self._settle(sequence)
        else:
            self._fresh[sequence.ticket] = sequence
            self._debt += self._first_blocks(sequence)

    def leave(self, sequence: Sequence) -> None:
        """Remove a member, writing its progress and its slots back to it."""
        ticket, slots = sequence.ticket, self.slots_of(sequence)
        gained = self.step - sequence.join_step
        if ticket in self._fresh:
            del self._fresh[ticket]
            self._debt -= self._first_blocks(sequence)
        elif ticket in self._capped:
            del self._capped[ticket]
        else:
            self._residues[self._residue(sequence)] -= 1
            self._regular -= 1
        sequence.slots = slots
        self.finish_sum -= sequence.finish_step
        self.size -= 1
        self.context -= sequence.computed + gained
        sequence.computed = min(sequence.computed + gained, sequence.final_context)

    def pop_finished(self) -> list[Sequence]:
        """Remove and return the members that sampled their last token, oldest first."""
        finished: list[Sequence] = []
        heap = self._finishes
        while heap and heap[0][0] <= self.step:
            finish, ticket, sequence = heappop(heap)
            if sequence.ticket == ticket:
                self.surplus += self.step - finish
                self.leave(sequence)
                finished.append(sequence)
        return finished

    # -- time -----------------------------------------------------------------------------------

    def advance(self, steps: int) -> None:
        """Let every member take part in `steps` steps, whose blocks are taken."""
        clock = self._clock(steps)
        self._steps += steps
        self.context += (clock - self.step) * self.size
        self.step = clock
        self.grown = False

    def gained(self, steps: int) -> int:
        """Return the tokens that all members together gain in `steps` more steps."""
        return (self._clock(steps) - self.step) * self.size

    def steps_to_finish(self) -> int:
        """Return after how many steps the next member finishes; the group must not be empty."""
        tokens = self.step + super().steps_to_finish()
        return -(-tokens * self._den // self._num) - self._steps

    @property
    def tokens(self) -> int:
        """Tokens that the next step computes."""
        return self.size * self._limits.decode_tokens

    def load(self) -> StepLoad:
        """Return what the members bring to the next step."""
        return next(self.loads(1))

    def loads(self, steps: int) -> Iterator[StepLoad]:
        """Return what the members bring to each of `steps` steps."""
        each, size = self._limits.decode_tokens, self.size
        tokens, own_pairs = size * each, size * (each * (each + 1) // 2 - 1)
        before = self.context - self.step * size
        clock, num, den = self._steps * self._num, self._num, self._den
        for _ in range(steps):
            context = before + clock // den * size
            yield StepLoad(size, tokens, context, (each - 1) * context + own_pairs)
            clock += num

    # -- blocks ---------------------------------------------------------------------------------

    @property
    def next_blocks(self) -> int:
        """The KV blocks that the next step takes."""
        return self._debt + self._crossed(self._taken_until, self.step)

    def grow(self) -> None:
        """Note that the blocks of the next step are taken."""
        for sequence in self._fresh.values():
            self._settle(sequence)
        self._fresh.clear()
        self.ahead.clear()
        self._debt = 0
        self.grown = True

    def blocks_needed(self, steps: int, after: int = 0) -> int:
        """Return the KV blocks that `steps` steps take, once `after` have passed."""
        return self._crossed(self._clock(after - 1), self._clock(after + steps - 1))

    def steps_within(self, free_blocks: int, limit: int, after: int = 0) -> int:
        """Return how many of `limit` steps, once `after` have passed, `free_blocks` suffice for."""
        fits, fails = 0, limit + 1
        if self.blocks_needed(limit, after) <= free_blocks:
            return limit
        while fails - fits > 1:
            steps = (fits + fails) // 2
            if self.blocks_needed(steps, after) <= free_blocks:
                fits = steps
            else:
                fails = steps
        return fits

    def members(self) -> list[Sequence]:
        """Return the members in the order of admission."""
        alive = [entry for entry in self._finishes if entry[2].ticket == entry[1]]
        return [entry[2] for entry in sorted(alive, key=itemgetter(1))]

    def blocks_of_next(self, sequence: Sequence) -> int:
        """Return the KV blocks that the next step takes for one member."""
        blocks_for = self._limits.blocks_for
        return blocks_for(self._slots(sequence, self.step)) - blocks_for(self.slots_of(sequence))

    def slots_of(self, sequence: Sequence) -> int:
        """Return the tokens that a member has KV blocks for."""
        if sequence.ticket in self.ahead:
            return self._slots(sequence, self.step)
        if sequence.ticket in self._fresh:
            return sequence.slots
        return self._slots(sequence, self._taken_until)

    @property
    def _taken_until(self) -> int:
        """The clock before the latest step whose blocks are taken."""
        return self.step if self.grown else self._clock(-1)

    def _clock(self, steps: int) -> int:
        """Return what the clock shows after `steps` more steps."""
        return (self._steps + steps) * self._num // self._den

    def _slots(self, sequence: Sequence, clock: int) -> int:
        """Return the slots a member has in a step that begins when the clock shows `clock`."""
        context = sequence.computed + clock - sequence.join_step
        return min(context + self._width, self._cap)

    def _first_blocks(self, sequence: Sequence) -> int:
        blocks_for = self._limits.blocks_for
        return blocks_for(self._slots(sequence, sequence.join_step)) - blocks_for(sequence.slots)

    def _settle(self, sequence: Sequence) -> None:
        if sequence.final_context - 1 + self._width > self._cap:
            self._capped[sequence.ticket] = sequence
        else:
            self._residues[self._residue(sequence)] += 1
            self._regular += 1

    def _residue(self, sequence: Sequence) -> int:
        return (sequence.join_step - sequence.computed - self._width) % self.block_size

    def _crossed(self, start: int, stop: int) -> int:
        """Return the blocks that settled members take while the clock goes on."""
        residues, size = self._residues, self.block_size
        cycles, rest = divmod(stop - start, size)
        blocks = cycles * self._regular
        first = start % size
        blocks += sum(residues[first : first + rest])
        if first + rest > size:
            blocks += sum(residues[: first + rest - size])
        blocks_for = self._limits.blocks_for
        for sequence in self._capped.values():
            blocks += blocks_for(self._slots(sequence, stop))
            blocks -= blocks_for(self._slots(sequence, start))
        return blocks
