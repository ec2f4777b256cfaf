"""Max-min fair sharing, in whole numbers.

Amounts are grains, 2**-128 of a byte, and rates whole grains a tick, rounded down. So what a flow
has sent is a whole number, sums are exact in any order, and no link ever carries more than it can.
A rate is off by less than a grain a tick for each flow of its component: over a thousand seconds
and ten thousand flows that is less than `SLACK`, and a flow with no more than that left is done.

Flows at one rate are one `Share`. It keeps what each of its members has been served since it
began, so that a member is not touched until it ends: its end is a point on that scale.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from heapq import heapify, heappop, heappush, heapreplace
from math import inf
from operator import attrgetter
from typing import TYPE_CHECKING

from hermes.scenario.units import TICKS_PER_SECOND

if TYPE_CHECKING:
    from hermes.sim.flow import Flow

__all__ = ["GRAINS", "SLACK", "Lane", "Share", "component", "fill", "grains_per_tick"]

GRAINS = 1 << 128
"""Grains in a byte."""
SLACK = GRAINS >> 60
"""A flow with no more than this left is done: at 1 GB/s, less than 1e-15 of a tick."""


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
        self.fair = self.rate  # what `fill` found
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
        ends, reached, ended = self.ends, self.served + SLACK, []
        while ends and ends[0][0] <= reached:
            end, _, flow = heappop(ends)
            again = ended and ended[-1] is flow  # it left and came back
            if flow.share is self and flow.end == end and not again:
                ended.append(flow)
        return ended


def component(start: Lane, mark: int) -> tuple[list[Lane], list[Share]]:
    """Return the contended lanes that flows tie to `start`, and their shares, marked."""
    start.mark = mark
    lanes, shares = [start], []
    for lane in lanes:  # grows while it is walked
        for share in lane.shares.values():
            if share.mark != mark:
                share.mark = mark
                shares.append(share)
                for other in share.lanes:
                    if other.mark != mark:
                        other.mark = mark
                        lanes.append(other)
    return lanes, shares


def fill(lanes: Iterable[Lane], shares: Sequence[Share]) -> None:
    """Set each share's `fair` rate by progressive filling.

    The level (rate per weight) of all flows rises together; a flow stops at its peak, or when a
    lane it crosses is full. O(n log n) in shares and lanes.
    """
    for lane in lanes:
        lane.residual = lane.capacity or 0
        lane.weight = 0
    for share in shares:
        share.fair = 0
        weight = share.count * share.weight
        for lane in share.lanes:
            lane.weight += weight
    levels = [(lane.residual // lane.weight, lane.index, lane) for lane in lanes if lane.weight]
    heapify(levels)
    by_peak = sorted(shares, key=attrgetter("peak_level"))
    capped = 0
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
        while capped < len(by_peak) and by_peak[capped].peak_level <= level:
            share = by_peak[capped]
            if not share.fair:
                _stop(share, min(share.peak, share.weight * level))
            capped += 1
        if capped > first:
            continue
        heappop(levels)
        for share in lane.shares.values():
            if not share.fair:
                _stop(share, share.weight * level)


def _stop(share: Share, rate: int) -> None:
    share.fair = rate
    used, weight = share.count * rate, share.count * share.weight
    for lane in share.lanes:
        lane.residual -= used
        lane.weight -= weight
