"""Checks of block ids that several layouts share."""

from __future__ import annotations

from hermes.workload.traces.source import TraceSource

__all__ = ["check_block_count"]


def check_block_count(
    source: TraceSource,
    ids: tuple[int, ...],
    prompt_tokens: int,
    block_tokens: int,
    partial: bool | None,
) -> None:
    """Check that a prompt has as many block ids as its tokens make blocks.

    It tells a trace with blocks of another size, or lengths in another unit, from the first row on.

    Args:
        source: The file.
        ids: The ids of the prompt's blocks.
        prompt_tokens: Its tokens.
        block_tokens: Tokens in a block.
        partial: Whether a last block that is not full has an id, too; None: either way.

    Raises:
        InputError: if the number is another one.
    """
    full, rest = divmod(prompt_tokens, block_tokens)
    allowed = {full + bool(rest)} if partial else {full}
    if partial is None:
        allowed.add(full + bool(rest))
    if len(ids) not in allowed:
        counts = " or ".join(str(count) for count in sorted(allowed))
        raise source.wrong(
            f"{prompt_tokens} prompt tokens make {counts} blocks of {block_tokens}, got"
            f" {len(ids)} ids; if the trace has blocks of another size, say block_tokens",
            "hash_ids",
        )
