"""The reference for groups in lock-step: steps as long as the slowest, padded to the largest."""

from __future__ import annotations

from tests.oracle.reference import ReferenceReplica, Request, Router


def run_lockstep(
    requests: list[Request], groups: list[ReferenceReplica], choose: Router
) -> list[int]:
    """Serve requests with groups that step together; return when each step ended."""
    arrivals, ends = list(requests), []
    ends_at: int | None = None
    while arrivals or ends_at is not None or any(group.has_work for group in groups):
        now = min([r.arrival for r in arrivals[:1]] + ([] if ends_at is None else [ends_at]))
        while arrivals and arrivals[0].arrival == now:
            choose(groups).enqueue(arrivals.pop(0))
        if ends_at == now:
            ends.append(now)
            ends_at = None
            for group in groups:
                if group.batch:
                    group.end(now)
        if ends_at is None:
            ends_at = begin(groups, now)
    return ends


def begin(groups: list[ReferenceReplica], now: int) -> int | None:
    working = []
    for group in groups:
        if group.has_work:
            group.begin(now)
            if group.batch:
                working.append((group, sum(tokens for _, tokens in group.batch)))
    if not working:
        return None
    largest = max(tokens for _, tokens in working)
    return max(
        group.ends_at + group.costs.padding_ticks(tokens, largest) for group, tokens in working
    )
