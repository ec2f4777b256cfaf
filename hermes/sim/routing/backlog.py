"""How long a replica would take for what it has: an estimate from its own cost model.

A router does not know how long outputs get. It expects the same number of tokens more from every
request that is queued or running, which is right for outputs without a memory (geometric ones), and
it lets prompts and decodes follow one another: prompts in steps as full as the token budget allows,
then decodes, as many at once as there are places. With speculative decoding the estimate is that
without it, which ranks replicas of one kind just as well.
"""

from __future__ import annotations

from typing import NamedTuple

from hermes.sim.replica import Replica

__all__ = ["EXPECTED_OUTPUT_TOKENS", "Backlog", "backlog", "drain_ticks"]

EXPECTED_OUTPUT_TOKENS = 256
"""Output tokens that a request is expected to have left, where nobody says otherwise."""


class Backlog(NamedTuple):
    """What a replica has to do.

    Attributes:
        requests: Those queued or running.
        pending_tokens: Prompt tokens to compute.
        context_tokens: Tokens of the requests that decode.
    """

    requests: int
    pending_tokens: int
    context_tokens: int

    def plus(self, prompt_tokens: int) -> Backlog:
        """Return the backlog with one more request."""
        return Backlog(self.requests + 1, self.pending_tokens + prompt_tokens, self.context_tokens)


def backlog(replica: Replica, now: int) -> Backlog:
    """Return what a replica has to do at tick `now`."""
    pending = replica.engine.pending_prompt_tokens
    return Backlog(replica.outstanding_requests(), pending, replica.decode_context(now))


def drain_ticks(replica: Replica, work: Backlog, output_tokens: int) -> int:
    """Return the ticks a replica is expected to take for a backlog.

    Args:
        replica: Gives costs and limits.
        work: The backlog.
        output_tokens: Tokens that each of its requests is expected to have left.
    """
    if not work.requests:
        return 0
    limits, stages = replica.engine.limits, len(replica.engine.lanes)
    full, rest = divmod(work.pending_tokens, limits.max_num_batched_tokens)
    ticks = _prompt_ticks(replica, rest) if rest else 0
    if full:
        ticks += full * _prompt_ticks(replica, limits.max_num_batched_tokens)
    at_once = min(work.requests, limits.max_num_seqs)
    steps = -(-work.requests * output_tokens // at_once)
    batch = -(-at_once // stages)  # each batch in flight has its share
    tokens = work.context_tokens + work.pending_tokens
    context = batch * (tokens // work.requests + output_tokens // 2)
    segment = replica.costs.decode_segment(batch, context)
    return ticks // stages + steps * (segment.base + segment.slope * context)


def _prompt_ticks(replica: Replica, tokens: int) -> int:
    return replica.costs.step_ticks(0, 0, tokens, 0, tokens * (tokens + 1) // 2, 1)
