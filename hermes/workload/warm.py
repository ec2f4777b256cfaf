"""Requests that came before: what they left in the caches is there when the simulation begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hermes.errors import InputError
from hermes.workload.workload import Column, Prefixes, Workload

__all__ = ["with_earlier"]


def with_earlier(workload: Workload, earlier: int) -> Workload:
    """Return a workload whose first requests came before, and are not simulated.

    Time starts where the last of them came, so the others keep their distances.

    Args:
        workload: All requests.
        earlier: How many came before.

    Raises:
        InputError: nothing is left to simulate, or the requests share nothing.
    """
    if earlier >= len(workload):
        raise InputError(
            f"there are {len(workload):,} requests in all, so no more than {len(workload) - 1:,} "
            f"can come before, got {earlier:,}",
            "workload.warm_cache",
        )
    if workload.prefixes is None:
        raise InputError(
            "the requests share no prompts, so caches hold nothing of use to them: take requests "
            "with block ids or sessions",
            "workload.warm_cache",
        )
    begin = int(workload.arrival_ticks[earlier - 1])
    before, after = _part(workload, 0, earlier), _part(workload, earlier, len(workload))
    source = f"{workload.source}, after {earlier:,} whose KV is in the caches"
    return replace(after, arrival_ticks=after.arrival_ticks - begin, source=source, earlier=before)


def _part(workload: Workload, low: int, high: int) -> Workload:
    def cut(column: Column | None) -> Column | None:
        return None if column is None else column[low:high]

    attributes: Mapping[str, Column] = {
        name: column[low:high] for name, column in workload.attributes.items()
    }
    prefixes = workload.prefixes
    if prefixes is not None:
        prefixes = Prefixes(prefixes.block_tokens, prefixes.ids[low:high])
    return replace(
        workload,
        arrival_ticks=workload.arrival_ticks[low:high],
        prompt_tokens=workload.prompt_tokens[low:high],
        output_tokens=workload.output_tokens[low:high],
        pipeline=workload.pipeline[low:high],
        priority=cut(workload.priority),
        prefixes=prefixes,
        session=cut(workload.session),
        attributes=attributes,
    )
