"""One request of a trace, as its reader yields it."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["TraceRow"]


class TraceRow(NamedTuple):
    """A request; what a layout does not say keeps its default.

    Attributes:
        arrival_ticks: When it arrives, from the start of the simulation; None where the whole
            trace has no times.
        prompt_tokens: Tokens of its prompt, at least 1.
        output_tokens: Tokens of its output, at least 1.
        pipeline: Name of its pipeline, or "".
        priority: Smaller is more urgent.
        block_ids: Ids of its prompt's blocks, from the start. Equal ids after equal heads mean
            equal content; what an id means after another head does not matter.
        block_tokens: Tokens in a block, for `block_ids` and for blocks that follow from sessions.
        session: Key of the session it is a turn of, or "".
        turn: Its number within the session, which must rise; None: not numbered.
        shared_tokens: Tokens at the start of its prompt that were so in the turn before; None:
            the whole prompt of that turn, if this one has room for that and its output.
        attributes: Further whole numbers by name; the same names in every row of a trace.
    """

    arrival_ticks: int | None
    prompt_tokens: int
    output_tokens: int
    pipeline: str = ""
    priority: int | None = None
    block_ids: tuple[int, ...] | None = None
    block_tokens: int = 0
    session: str = ""
    turn: int | None = None
    shared_tokens: int | None = None
    attributes: tuple[tuple[str, int], ...] = ()
