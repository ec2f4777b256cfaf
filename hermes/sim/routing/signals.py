"""The signals of load that a router can go by.

A load is a pair: what is compared first, and what settles a tie. Every signal is the same however a
replica's steps are grouped into events.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from hermes.sim.replica import Replica
from hermes.sim.routing.backlog import EXPECTED_OUTPUT_TOKENS, backlog, drain_ticks

__all__ = ["SIGNALS", "Load"]

Load: TypeAlias = tuple[int, int]


def _requests(replica: Replica, now: int) -> Load:
    del now
    return replica.outstanding_requests(), 0


def _kv_blocks(replica: Replica, now: int) -> Load:
    return replica.committed_blocks(now), 0


def _pending_tokens(replica: Replica, now: int) -> Load:
    del now
    return replica.engine.pending_prompt_tokens, replica.outstanding_requests()


def _decodes(replica: Replica, now: int) -> Load:
    del now
    return replica.running_decodes(), replica.outstanding_requests()


def _drain(replica: Replica, now: int) -> Load:
    return drain_ticks(replica, backlog(replica, now), EXPECTED_OUTPUT_TOKENS), 0


def _waiting(replica: Replica, now: int) -> Load:
    del now
    return len(replica.engine.waiting), 0


def _used_blocks(replica: Replica, now: int) -> Load:
    return replica.committed_blocks(now) - replica.engine.queued_blocks, 0


SIGNALS: Mapping[str, Callable[[Replica, int], Load]] = {
    "requests": _requests,
    "kv_blocks": _kv_blocks,
    "pending_tokens": _pending_tokens,
    "decodes": _decodes,
    "drain": _drain,
    "waiting": _waiting,
    "used_blocks": _used_blocks,
}
"""Reads a replica's load at a tick, by the name of the signal."""
