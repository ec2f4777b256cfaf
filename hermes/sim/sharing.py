"""Max-min fair sharing, in whole numbers.

Amounts are grains, 2**-128 of a byte, and rates whole grains a tick, rounded down. So what a flow
has sent is a whole number, sums are exact in any order, and no link ever carries more than it can.
A rate is off by less than a grain a tick for each flow of its component: over a thousand seconds
and ten thousand flows that is less than `SLACK`, and a flow with no more than that left is done.

Flows at one rate are one `Share`. It keeps what each of its members has been served since it
began, so that a member is not touched until it ends: its end is a point on that scale.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache
from heapq import heapify, heappop, heappush, heapreplace
from math import inf
from operator import attrgetter
from typing import TYPE_CHECKING

from hermes.scenario.units import TICKS_PER_SECOND

if TYPE_CHECKING:
    from hermes.sim.flow import Flow

__all__ = ["GRAINS", "SLACK", "Lane", "Share", "grains_per_tick", "share_out"]

GRAINS = 1 << 128
"""Grains in a byte."""
SLACK = GRAINS >> 60
"""A flow with no more than this left is done: at 1 GB/s, less than 1e-15 of a tick."""

_peak_level = attrgetter("peak_level")


@lru_cache(maxsize=1024)
def grains_per_tick(bytes_per_second: float) -> int | None:
    """Return a bandwidth in grains a tick, rounded down; None for an infinite one."""
    if bytes_per_second == inf:
        return None
    return int(Fraction(bytes_per_second) * GRAINS / TICKS_PER_SECOND)


class Lane:
    """A link while it is in use.

    Only *contended* lanes take part in sharing. One whose flows, each at its peak, do not fill it
    cannot hold anyone back.
    """

    __slots__ = (
        "busy_since",
        "busy_ticks",
        "bytes",
        "capacity",
        "contended",
        "flows",
        "index",
        "load",
        "mark",
        "name",
        "residual",
        "shares",
        "stall_ticks",
        "transfers",
        "weight",
    )

    def __init__(self, index: int, name: str, capacity: int | None) -> None:
        self.index = index
        self.name = name
        self.capacity = capacity
        self.flows: dict[int, Flow] = {}
        self.load = 0  # the flows' peaks together
        self.contended = False
        self.shares: dict[int, Share] = {}
        self.mark = 0
        self.residual = 0
        self.weight = 0
        self.bytes = 0
        self.transfers = 0
        self.stall_ticks = 0
        self.busy_ticks = 0
        self.busy_since = 0

    @property
    def can_bind(self) -> bool:
        """Whether the flows' peaks together exceed the capacity."""
        return self.capacity is not None and self.load > self.capacity

    @property
    def is_slack(self) -> bool:
        """Whether it is far from binding; far, lest it changes with every flow."""
        return len(self.flows) <= 1 or (self.capacity is not None and 2 * self.load < self.capacity)


class Share:
    """The flows that have one rate: equal contended lanes, peak and weight.

    Args:
        serial: Settles ties, in the order shares were made.
        lanes: The contended lanes its flows cross.
        peak: Most that one flow takes, grains a tick.
        weight: Of one flow.
        now: The current tick.
    """

    __slots__ = (
        "count",
        "ends",
        "fair",
        "lanes",
        "mark",
        "peak",
        "peak_level",
        "rate",
        "serial",
        "served",
        "since",
        "version",
        "weight",
    )

    def __init__(
        self, serial: int, lanes: tuple[Lane, ...], peak: int, weight: int, now: int
    ) -> None:
        self.serial = serial
        self.lanes = lanes
        self.peak = peak
        self.weight = weight
        self.peak_level = peak // weight
        self.count = 0
        self.rate = 0 if lanes else peak
        self.fair = self.rate  # what `share_out` found
        self.served = 0
        self.since = now
        self.ends: list[tuple[int, int, Flow]] = []  # a heap; flows that left are still in it
        self.version = 0
        self.mark = 0

    def served_at(self, now: int) -> int:
        """Return the grains served to each member since the share began."""
        return self.served + self.rate * (now - self.since)

    def settle(self, now: int) -> None:
        """Account for the time since the rate was set."""
        self.served += self.rate * (now - self.since)
        self.since = now

    def add(self, flow: Flow, left: int, now: int) -> None:
        """Take in a flow that has `left` grains to go."""
        self.settle(now)
        self.count += 1
        flow.share = self
        flow.end = self.served + left
        heappush(self.ends, (flow.end, flow.number, flow))

    def next_end(self) -> int | None:
        """Return the tick at which the next member ends, as seen from the last settlement."""
        ends = self.ends
        if len(ends) > 2 * self.count + 32:
            ends[:] = [
                entry for entry in ends if entry[2].share is self and entry[0] == entry[2].end
            ]
            heapify(ends)
        while ends:
            end, _, flow = ends[0]
            if flow.share is self and flow.end == end:
                return self.since + max(0, -((SLACK + self.served - end) // self.rate))
            heappop(ends)
        return None

    def take_ended(self) -> list[Flow]:
        """Return the members that are done by the last settlement; they stay counted."""
        ends, reached = self.ends, self.served + SLACK
        ended: list[Flow] = []
        while ends and ends[0][0] <= reached:
            end, _, flow = heappop(ends)
            again = ended and ended[-1] is flow  # it left and came back
            if flow.share is self and flow.end == end and not again:
                ended.append(flow)
        return ended


def share_out(start: Lane, mark: int) -> list[Share]:
    """Find the `fair` rate of every share that contended lanes tie to `start`; return them.

    Progressive filling: the level (rate per weight) of all flows rises together; a flow stops at
    its peak, or when a lane it crosses is full. O(n log n) in shares and lanes. What it reaches is
    marked.
    """
    lanes, shares = _component(start, mark)
    levels = [(lane.residual // lane.weight, lane.index, lane) for lane in lanes if lane.weight]
    heapify(levels)
    by_peak = sorted(shares, key=_peak_level)
    capped, count = 0, len(by_peak)
    while levels:
        level, index, lane = levels[0]
        if not lane.weight:
            heappop(levels)
            continue
        now = lane.residual // lane.weight
        if now > level:  # flows stopped elsewhere have left it more
            heapreplace(levels, (now, index, lane))
            continue
        first = capped
        while capped < count and by_peak[capped].peak_level <= level:
            capped += 1
        if capped > first:
            _stop(by_peak[first:capped], level)
        else:
            heappop(levels)
            _stop(lane.shares.values(), level)
    return shares


def _component(start: Lane, mark: int) -> tuple[list[Lane], list[Share]]:
    """Return the contended lanes that flows tie to `start`, and their shares, made ready."""
    start.mark, start.residual, start.weight = mark, start.capacity or 0, 0
    lanes, shares = [start], []
    for lane in lanes:  # grows while it is walked
        for share in lane.shares.values():
            if share.mark == mark:
                continue
            share.mark = mark
            share.fair = 0
            shares.append(share)
            weight = share.count * share.weight
            for other in share.lanes:
                if other.mark != mark:
                    other.mark, other.residual, other.weight = mark, other.capacity or 0, 0
                    lanes.append(other)
                other.weight += weight
    return lanes, shares


def _stop(shares: Iterable[Share], level: int) -> None:
    """Give the shares that still rise their rate at a level, and take it from their lanes."""
    for share in shares:
        if share.fair:
            continue
        rate = share.weight * level
        share.fair = rate = rate if rate < share.peak else share.peak
        used, weight = share.count * rate, share.count * share.weight
        for lane in share.lanes:
            lane.residual -= used
            lane.weight -= weight
