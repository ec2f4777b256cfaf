"""Sequences that decode each by its own luck: `sampled` acceptance.

Nothing can be derived from a common clock here, so every member is touched at every step, and
keeps its own progress.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Iterator

from hermes.costs.speculation import StepLoad, verify_pairs
from hermes.sim.decode_group import DecodeGroup
from hermes.sim.limits import EngineLimits
from hermes.sim.sequence import Sequence
from hermes.sim.speculation.acceptance import Acceptance

__all__ = ["DrawnGroup"]


def _ticket(sequence: Sequence) -> int:
    return sequence.ticket


class DrawnGroup(DecodeGroup):
    """Members in the order of admission; `granted` is what each computes in the next step.

    Args:
        limits: Bounds of the engine.
        acceptance: Says how many drafts hold.
    """

    __slots__ = ("_acceptance", "_finished", "instant", "members", "now", "waits")

    def __init__(self, limits: EngineLimits, acceptance: Acceptance) -> None:
        super().__init__(limits.block_size)
        self._acceptance = acceptance
        self._finished: list[Sequence] = []
        self.members: list[Sequence] = []
        self.now = 0  # the end of the step that `advance` books
        self.waits: Counter[int] = Counter()  # ticks before the first token of a step
        self.instant = 0  # tokens that came together with the one before them

    def sequences(self) -> list[Sequence]:
        """Return the members; see `DecodeGroup`."""
        return list(self.members)

    def join(self, sequence: Sequence) -> None:
        """Add a sequence that has sampled a token and has more to decode."""
        sequence.join_step = self.step
        insort(self.members, sequence, key=_ticket)
        self.size += 1
        self.context += sequence.computed

    def leave(self, sequence: Sequence) -> None:
        """Remove a member."""
        self.members.remove(sequence)
        if sequence in self._finished:
            self._finished.remove(sequence)  # it was aborted in its last step
        self.size -= 1
        self.context -= sequence.computed

    def advance(self, steps: int) -> None:
        """Let the members that take part in a step gain what they draw."""
        assert steps == 1, "steps with draws are taken one by one"
        for sequence in self.members:
            tokens = sequence.granted
            if not tokens:
                continue
            sequence.granted = 0
            accepted = 0 if tokens == 1 else self._acceptance.accepted(sequence, tokens - 1)
            gained = min(1 + accepted, sequence.final_context - sequence.computed)
            sequence.computed += gained
            self.context += gained
            self.waits[self.now - sequence.last_token] += 1
            self.instant += gained - 1
            sequence.last_token = self.now
            if sequence.computed == sequence.final_context:
                self._finished.append(sequence)

    def gained(self, steps: int) -> int:
        """Return 0: what members gain is drawn when a step ends."""
        del steps
        return 0

    def remaining_tokens(self) -> int:
        """Return the tokens that all members have yet to sample."""
        return sum(sequence.final_context - sequence.computed for sequence in self.members)

    @property
    def tokens(self) -> int:
        """Tokens that the next step computes."""
        return sum(sequence.granted for sequence in self.members)

    @property
    def due(self) -> bool:
        """Whether a member has sampled its last token."""
        return bool(self._finished)

    def pop_finished(self) -> list[Sequence]:
        """Remove and return the members that sampled their last token, oldest first."""
        finished, self._finished = self._finished, []
        for sequence in finished:
            self.leave(sequence)
        return finished

    def loads(self, steps: int) -> Iterator[StepLoad]:
        """Return what the members bring to the next step, and no further."""
        assert steps == 1, "steps with draws are taken one by one"
        yield self.load()

    def load(self) -> StepLoad:
        """Return what the members bring to the next step."""
        running = [sequence for sequence in self.members if sequence.granted]
        return StepLoad(
            len(running),
            sum(sequence.granted for sequence in running),
            sum(sequence.computed for sequence in running),
            sum(verify_pairs(sequence.granted, sequence.computed) for sequence in running),
        )

    def context_of(self, sequence: Sequence) -> int:
        """Return the tokens of a member whose KV is in the cache."""
        return sequence.computed

    def slots_of(self, sequence: Sequence) -> int:
        """Return the tokens that a member has KV blocks for."""
        return sequence.slots
