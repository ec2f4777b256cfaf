"""Bandwidth that transfers contend for: one fluid-flow resource for networks, PCIe and memory.

A transfer is a flow over a path of links. First the path's latency passes, then its bytes flow at
the max-min fair rate: on every link the flows share alike, by weight, and what one cannot use, for
being held back elsewhere, the others get. Rates change only when a flow begins or ends, and only
where flows are tied to it by links that are full. Not modelled: packets, slow start, and a
protocol's overhead (state a bandwidth that is net of it).

Times are whole ticks: a flow ends at the first tick by which its last byte has arrived, and holds
its share up to then. The arithmetic is in whole numbers (see `hermes.sim.sharing`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from math import inf

from simpy import Event
from simpy.events import NORMAL

from hermes.errors import SimulationError, UnknownNameError
from hermes.scenario.units import TICKS_PER_SECOND
from hermes.sim.clock import Alarm, Clock
from hermes.sim.flow import Flow, Path
from hermes.sim.link import Link, LinkUse
from hermes.sim.sharing import GRAINS, SLACK, Lane, Share, grains_per_tick, share_out

__all__ = ["Flow", "FlowNetwork", "Link", "LinkUse"]

_STALE = 256  # entries for ends that were moved, before they are swept


class FlowNetwork:
    """Links, and the flows over them.

    A flow costs O(log n) where no link of its path is contended, or one is and flows over it have
    few distinct peaks and weights. Else rates are found anew for the flows that contended links
    tie together, O(n log n) in their distinct paths, peaks and weights.

    Args:
        env: The SimPy environment.
        links: Links with distinct names.
        contention: Whether flows share bandwidth; false: each has its path to itself.
    """

    def __init__(self, env: Clock, links: Sequence[Link], contention: bool = True) -> None:
        self._env = env
        self._contention = contention
        self._links = {link.name: link for link in links}
        if len(self._links) < len(links):
            twice = [name for name, n in Counter(link.name for link in links).items() if n > 1]
            raise SimulationError(f"several links are called {', '.join(twice)}")
        self._indices = {name: index for index, name in enumerate(self._links)}
        self._lanes: dict[str, Lane] = {}  # of links that have been asked for
        self._paths: dict[tuple[str, ...], Path] = {}
        self._flows = 0
        self._turns: list[tuple[int, int, Flow]] = []  # begins, and ends of production
        self._ends: list[tuple[int, int, int, Share]] = []  # tick, share's serial and version
        self._shares: dict[tuple[tuple[Lane, ...], int, int], Share] = {}
        self._serial = 0
        self._mark = 0
        self._touched: dict[int, Lane] = {}  # lanes whose flows may need other rates
        self._moved: dict[int, Share] = {}  # shares whose next end may be another
        self._alarm: Alarm | None = None
        self._alarm_tick = 0

    # -- what others use ------------------------------------------------------------------------

    @property
    def env(self) -> Clock:
        """Its time."""
        return self._env

    @property
    def now(self) -> int:
        """The current tick."""
        return self._env.now

    def unshared(self, path: Sequence[str]) -> tuple[int, float]:
        """Return a path's latency in ticks and its narrowest bandwidth in bytes a second."""
        links = [self._links[name] for name in path]
        narrowest = min((link.bytes_per_second for link in links), default=math.inf)
        return sum(link.latency for link in links), narrowest

    def transfer(
        self,
        path: Sequence[str],
        size_bytes: int,
        on_done: Callable[[], None],
        weight: int = 1,
        extra_latency: int = 0,
        *,
        max_bytes_per_second: float | None = None,
        produced: tuple[int, int] | None = None,
    ) -> Flow:
        """Start to carry bytes over the links of a path.

        Args:
            path: Names of links, none twice; an empty path carries at once.
            size_bytes: What to carry; nothing takes the latency only.
            on_done: Called when the last byte has arrived, never before this method returns.
            weight: Share of a contended link, relative to other flows' weights.
            extra_latency: Ticks on top of the latencies of the links.
            max_bytes_per_second: A bound on this flow's own rate.
            produced: Ticks between which the bytes come into being, evenly. Until the second the
                flow spreads what it has to send over the time that is left, so it never sends what
                does not exist, and is not done before production is, plus the latency. What it
                could not send for want of bandwidth follows then. Under a steady share that ends
                when sending each byte at the earliest would; a share that was short and recovers
                before the end of production is not used to catch up.
        """
        if size_bytes < 0 or weight < 1 or extra_latency < 0:
            raise SimulationError(
                f"a transfer of {size_bytes} bytes, weight {weight}, latency {extra_latency}"
            )
        names = tuple(path)
        route = self._paths.get(names) or self._path(names)
        widest = route.peak
        if max_bytes_per_second is not None:
            widest = _narrower(widest, max_bytes_per_second)
        now, latency = self._env.now, route.latency + extra_latency
        flow = Flow(self._flows, route, size_bytes, on_done, weight, widest, now)
        self._flows += 1
        begin = now + latency
        if produced is not None and produced[1] > now:
            begin = max(now, produced[0]) + latency
            flow.until = produced[1] + latency
        flow.alone = _alone(flow, begin)
        at_once = size_bytes > 0 and begin == now and flow.until is None and widest is not None
        if at_once and not self._due(now):
            self._begin(flow, size_bytes * GRAINS, now)
            self._share_anew(now)
        else:
            heappush(self._turns, (begin, flow.number, flow))
        self._arm()
        return flow

    def _due(self, now: int) -> bool:
        """Whether other flows begin or end at this tick, which are then seen to together."""
        turns, ends = self._turns, self._ends
        return bool(turns and turns[0][0] <= now) or bool(ends and ends[0][0] <= now)

    def cancel(self, flow: Flow) -> None:
        """Stop a flow; its `on_done` is not called. One that is over stays as it is."""
        if flow.ended:
            return
        flow.cancelled = True
        if flow.share is not None:
            flow.sent = flow.grains_sent(self._env.now)
            self._leave(flow)
            for lane in flow.path.lanes:
                lane.transfers += 1
                lane.bytes += flow.sent // GRAINS
            self._set_alarm(self._env.now)

    def estimate(
        self, path: Sequence[str], size_bytes: int, max_bytes_per_second: float | None = None
    ) -> int:
        """Return the ticks a transfer would take now, if no other came after it.

        On each link it shares alike with those that flow or are about to, until they are done;
        what holds them back elsewhere is left out, so with it the transfer takes less.
        """
        names = tuple(path)
        route, now = self._paths.get(names) or self._path(names), self._env.now
        size, ticks, widest = size_bytes * GRAINS, 0, route.peak
        if max_bytes_per_second is not None:
            widest = _narrower(widest, max_bytes_per_second)
        if widest is not None:
            ticks = max(0, -((SLACK - size) // widest))
        coming = [flow for _, _, flow in self._turns if flow.share is None and not flow.ended]
        for lane in route.lanes:
            if lane.capacity is not None:
                flows = [*lane.flows.values(), *(f for f in coming if lane in f.path.lanes)]
                ahead = sum(min(size, f.size_bytes * GRAINS - f.grains_sent(now)) for f in flows)
                ticks = max(ticks, -((SLACK - size - ahead) // lane.capacity))
        return route.latency + ticks

    def use(self, name: str) -> LinkUse:
        """Return what a link has carried so far."""
        lane, now = self._lane(name), self._env.now
        under_way = sum(flow.bytes_sent(now) for flow in lane.flows.values())
        busy = lane.busy_ticks + (now - lane.busy_since if lane.flows else 0)
        carried = lane.bytes + under_way
        return LinkUse(self._links[name], lane.transfers, carried, busy, lane.stall_ticks)

    def uses(self) -> tuple[LinkUse, ...]:
        """Return what every link has carried so far, in the order the links were given."""
        return tuple(self.use(name) for name in self._links)

    def rate(self, flow: Flow) -> float:
        """Return a flow's present rate in bytes a second."""
        return flow.share.rate * TICKS_PER_SECOND / GRAINS if flow.share is not None else 0.0

    # -- paths ----------------------------------------------------------------------------------

    def _path(self, names: tuple[str, ...]) -> Path:
        if len(dict.fromkeys(names)) < len(names):
            raise SimulationError(f"a path crosses a link twice: {' -> '.join(names)}")
        lanes = tuple(self._lane(name) for name in names)
        capacities = [grains_per_tick(self._links[name].bytes_per_second) for name in names]
        peaks = [capacity for capacity in capacities if capacity is not None]
        latency = sum(self._links[name].latency for name in names)
        path = self._paths[names] = Path(lanes, latency, min(peaks) if peaks else None)
        return path

    def _lane(self, name: str) -> Lane:
        lane = self._lanes.get(name)
        if lane is None:
            if name not in self._links:
                raise UnknownNameError.among("link", name, self._links)
            bandwidth = self._links[name].bytes_per_second if self._contention else inf
            capacity = grains_per_tick(bandwidth)
            lane = self._lanes[name] = Lane(self._indices[name], name, capacity)
        return lane

    # -- the alarm ------------------------------------------------------------------------------

    def _arm(self) -> None:
        """See to it that the network wakes for what comes next."""
        ends, turns = self._ends, self._turns
        while ends and ends[0][3].version != ends[0][2]:
            heappop(ends)
        if ends and not (turns and turns[0][0] < ends[0][0]):
            self._set_alarm(ends[0][0])
        elif turns:
            self._set_alarm(turns[0][0])

    def _set_alarm(self, tick: int) -> None:
        """Wake at a tick or before: an alarm that is early is left as it is."""
        if self._alarm is None:
            self._alarm = Alarm(self._env).set(tick - self._env.now, NORMAL)
            self._alarm.callbacks.append(self._wake)
        elif tick < self._alarm_tick:
            self._alarm = self._alarm.moved(tick - self._env.now, NORMAL)
        else:
            return
        self._alarm_tick = tick

    def _wake(self, _: Event) -> None:
        """Let everything that is due happen, share anew, then tell those whose bytes arrived."""
        now = self._env.now
        self._alarm = None
        done: list[Flow] = []
        self._end_due(now, done)
        self._turn_due(now, done)
        self._share_anew(now)
        self._arm()
        done.sort(key=_number)
        for flow in done:
            flow.on_done()

    def _end_due(self, now: int, done: list[Flow]) -> None:
        ends = self._ends
        while ends and ends[0][0] <= now:
            _, _, version, share = heappop(ends)
            if version != share.version:
                continue
            share.settle(now)
            for flow in share.take_ended():
                self._leave(flow)
                self._finish(flow, now)
                done.append(flow)
            if share.count:
                self._moved[share.serial] = share

    def _turn_due(self, now: int, done: list[Flow]) -> None:
        turns = self._turns
        while turns and turns[0][0] <= now:
            flow = heappop(turns)[2]
            if flow.ended:
                continue
            producing = flow.until is not None and flow.until > now
            if flow.share is not None:  # the last byte has been produced
                flow.sent = flow.grains_sent(now)
                self._leave(flow)
            elif flow.until is not None and producing:
                heappush(turns, (flow.until, flow.number, flow))
            left = flow.size_bytes * GRAINS - flow.sent
            if left > SLACK and flow.widest is not None:
                self._begin(flow, left, now)
            elif not producing:
                self._finish(flow, now)
                done.append(flow)

    def _finish(self, flow: Flow, now: int) -> None:
        flow.finished = now
        flow.sent = flow.size_bytes * GRAINS
        stall = flow.stall_ticks
        for lane in flow.path.lanes:
            lane.transfers += 1
            lane.bytes += flow.size_bytes
            lane.stall_ticks += stall

    # -- flows come and go ----------------------------------------------------------------------

    def _begin(self, flow: Flow, left: int, now: int) -> None:
        peak = flow.widest or 0
        if flow.until is not None and flow.until > now:
            peak = min(peak, left // (flow.until - now))
        flow.peak = peak
        for lane in flow.path.lanes:
            if not lane.flows:
                lane.busy_since = now
            lane.load += peak
            if not lane.contended and lane.can_bind:
                lane.contended = True
                self._place_anew(lane, now)
            lane.flows[flow.number] = flow
        self._place(flow, left, now)

    def _leave(self, flow: Flow) -> None:
        now = self._env.now
        self._lift(flow)
        for lane in flow.path.lanes:
            lane.load -= flow.peak
            del lane.flows[flow.number]
            if not lane.flows:
                lane.busy_ticks += now - lane.busy_since
        for lane in flow.path.lanes:
            if lane.contended and lane.is_slack:
                lane.contended = False
                self._place_anew(lane, now)

    def _place_anew(self, lane: Lane, now: int) -> None:
        """Move a lane's flows to other shares, since it is contended now, or no longer."""
        for flow in lane.flows.values():
            if flow.share is not None:
                left = flow.end - flow.share.served_at(now)
                self._lift(flow)
                self._place(flow, left, now)

    def _place(self, flow: Flow, left: int, now: int) -> None:
        lanes = tuple([lane for lane in flow.path.lanes if lane.contended])
        key = (lanes, flow.peak, flow.weight)
        share = self._shares.get(key)
        if share is None:
            share = self._shares[key] = Share(self._serial, lanes, flow.peak, flow.weight, now)
            self._serial += 1
            for lane in lanes:
                lane.shares[share.serial] = share
        share.add(flow, left, now)
        self._moved[share.serial] = share
        for lane in lanes:
            self._touched[lane.index] = lane

    def _lift(self, flow: Flow) -> None:
        share = flow.share
        if share is None:
            return
        flow.share = None
        share.count -= 1
        self._moved[share.serial] = share
        for lane in share.lanes:
            self._touched[lane.index] = lane
        if not share.count:
            share.version += 1
            del self._shares[share.lanes, share.peak, share.weight]
            for lane in share.lanes:
                del lane.shares[share.serial]

    # -- rates ----------------------------------------------------------------------------------

    def _share_anew(self, now: int) -> None:
        self._mark += 1
        for lane in self._touched.values():
            if lane.contended and lane.mark != self._mark:
                for share in share_out(lane, self._mark):
                    if share.fair != share.rate:
                        share.settle(now)
                        share.rate = share.fair
                        self._moved[share.serial] = share
        self._touched.clear()
        for share in self._moved.values():
            if share.count:
                self._expect(share, now)
        self._moved.clear()
        if len(self._ends) > _STALE + 4 * len(self._shares):
            self._ends = [entry for entry in self._ends if entry[2] == entry[3].version]
            heapify(self._ends)

    def _expect(self, share: Share, now: int) -> None:
        share.settle(now)
        share.version += 1
        tick = share.next_end()
        if tick is not None:
            heappush(self._ends, (tick, share.serial, share.version, share))


def _narrower(peak: int | None, bytes_per_second: float) -> int | None:
    if bytes_per_second <= 0:
        raise SimulationError(f"a transfer at {bytes_per_second} bytes/s")
    cap = grains_per_tick(bytes_per_second)
    return cap if peak is None or (cap is not None and cap < peak) else peak


def _alone(flow: Flow, begin: int) -> int:
    """Return when a flow that begins at a tick is done with nobody else about."""
    end = begin if flow.until is None else flow.until
    left = flow.size_bytes * GRAINS - SLACK
    return end if left <= 0 or flow.widest is None else max(end, begin - (-left // flow.widest))


def _number(flow: Flow) -> int:
    return flow.number
