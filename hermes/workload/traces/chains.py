"""Which blocks of which prompts are the same, numbered so that one number says it all.

Prefix caches ask for a block by all that stands before it, too. Traces number blocks in two ways:
some ids stand for a block after its head, others for the block alone. Here each id is numbered
anew after its head, so both end alike: equal numbers mean equal blocks after equal heads.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from hermes.workload.traces.row import TraceRow

__all__ = ["Chains", "SessionChains"]

_START = -1


class Chains:
    """Numbers blocks by their ids and what stands before them."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[tuple[int, Hashable], int] = {}

    def number(self, ids: Iterable[Hashable]) -> tuple[int, ...]:
        """Return the numbers of a prompt's blocks."""
        known, place = self._known, _START
        numbers = []
        for block in ids:
            place = known.setdefault((place, block), len(known))
            numbers.append(place)
        return tuple(numbers)


class SessionChains:
    """Numbers the blocks of prompts by what each turn of a session repeats of the turn before.

    Only prompts count: the output of a turn returns in the next prompt, but its blocks are new
    there, as they are in published block hashes.
    """

    __slots__ = ("_last", "_next")

    def __init__(self) -> None:
        self._last: dict[str, tuple[TraceRow, tuple[int, ...]]] = {}
        self._next = 0

    def number(self, row: TraceRow) -> tuple[int, ...]:
        """Return the numbers of the full blocks of a turn's prompt."""
        head: tuple[int, ...] = ()
        if row.session and row.session in self._last:
            before, blocks = self._last[row.session]
            head = blocks[: _repeated(before, row) // row.block_tokens]
        new = row.prompt_tokens // row.block_tokens - len(head)
        numbers = (*head, *range(self._next, self._next + new))
        self._next += new
        if row.session:
            self._last[row.session] = (row, numbers)
        return numbers


def _repeated(before: TraceRow, row: TraceRow) -> int:
    """Return the tokens that two turns in a row begin with alike."""
    if row.shared_tokens is not None:
        return row.shared_tokens
    grown = row.prompt_tokens >= before.prompt_tokens + before.output_tokens
    return before.prompt_tokens if grown else 0
