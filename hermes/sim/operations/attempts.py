"""A model call on replicas that come and go: it waits, begins, and begins again elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from hermes.sim.clock import Clock
from hermes.sim.pipelines.signal import Signal, Waitable
from hermes.sim.pipelines.walk import Failed, Rejected
from hermes.sim.replica import Replica
from hermes.sim.request_log import RequestLog
from hermes.sim.route import Route
from hermes.sim.routing import RoutedRequest
from hermes.sim.sequence import Sequence

__all__ = ["REPLICA_LOST", "Lost", "Served", "serve"]

REPLICA_LOST = "replica_lost"

_Steps = Generator[Waitable, Any, None]


@dataclass(frozen=True, slots=True)
class Lost:
    """What a call is told whose replica was lost.

    Attributes:
        replica: The replica.
        sequence: The call as it was there.
    """

    replica: Replica
    sequence: Sequence


@dataclass(frozen=True, slots=True)
class Served:
    """A call that got its last token.

    Attributes:
        replica: Where it ended.
        first: Where it was sent when it began for the last time.
        sequence: As it was in the end.
        moved: Ticks that its prompt was on its way before it had ever begun.
    """

    replica: Replica
    first: Replica
    sequence: Sequence
    moved: int


def serve(
    env: Clock,
    log: RequestLog,
    route: Route,
    routed: RoutedRequest,
    build: Callable[[Replica], Sequence],
    move: Callable[[Replica], _Steps] | None = None,
    reaches: Callable[[int], bool] | None = None,
) -> Generator[Waitable, Any, Served]:
    """Have a call served; yields what it waits for.

    Args:
        env: The SimPy environment.
        log: Where it is noted how often it began again.
        route: Where it can go; it has a gate.
        routed: What routers see of it.
        build: Returns it as a sequence for a replica.
        move: Brings its prompt to a replica; None: it is there.
        reaches: Whether it could get to a replica; None: to all.

    Raises:
        Rejected: nobody takes it, or it waited too long.
        Failed: its replica was lost, once too often.
    """
    gate = route.gate
    assert gate is not None
    since, moved, retries = env.now, 0, 0
    before: Sequence | None = None
    resume = False
    while True:
        asked = routed if before is None or not resume else _longer(routed, before)
        pick = route.pick(env.now, asked, reaches)
        replica = pick.replica
        begun = before is not None and before.scheduled >= 0
        if replica is None:
            if pick.reason:
                raise (Failed if begun else Rejected)(pick.reason)
            ending = yield gate.hold(since, begun)
            if ending is not None:
                raise ending
            continue
        begin = env.now
        if move is not None:
            yield from move(replica)
            if not begun:
                moved += env.now - begin
            if not replica.up:
                continue  # it went down meanwhile
        sequence = build(replica)
        if before is not None:
            _carry_on(sequence, before, resume)
        sequence.route, sequence.routed = route, routed
        sequence.hand_off = pick.hand_off
        sequence.done = done = Signal()
        replica.submit(sequence)
        gate.watch(replica, sequence, since)
        ending = yield done
        if isinstance(ending, Exception):
            raise ending
        if not isinstance(ending, Lost):
            last, sequence = ending
            return Served(last, replica, sequence, moved)
        plan = gate.plan(replica)
        if plan is None or retries == plan.retries:
            raise Failed(REPLICA_LOST)
        before, resume = ending.sequence, plan.resume
        retries += 1
        log.retried(routed.number)


def _sampled(sequence: Sequence) -> int:
    """Return the tokens that a lost sequence has got, as far as its last replica knew."""
    if sequence.first_token < 0:
        return 0
    return max(sequence.target, sequence.computed + 1) - sequence.prompt_tokens


def _longer(routed: RoutedRequest, before: Sequence) -> RoutedRequest:
    """Return a call as routers see it that goes on behind the tokens it has got."""
    tokens = _sampled(before)
    return RoutedRequest(
        routed.number,
        routed.prompt_tokens + tokens,
        routed.output_tokens - tokens,
        routed.workload,
        routed.prefix_keys,
        routed.adapter,
    )


def _carry_on(sequence: Sequence, before: Sequence, resume: bool) -> None:
    """Let a sequence take the place of one that was lost: what it waited for and got stays."""
    if resume:
        sequence.target = sequence.prompt_tokens + _sampled(before)
    sequence.scheduled, sequence.lost = before.scheduled, before.lost
    sequence.first_token, sequence.last_token = before.first_token, before.last_token
    sequence.preemptions = before.preemptions
    sequence.reused_tokens, sequence.fetched_tokens = before.reused_tokens, before.fetched_tokens
    sequence.requeued_ticks = before.requeued_ticks
    sequence.transfer_ticks = before.transfer_ticks
    sequence.retrieval_ticks, sequence.stall_ticks = before.retrieval_ticks, before.stall_ticks
    sequence.preempted_ticks = before.preempted_ticks
