"""An executor: the computing part of one device, which the stations on it take turns at.

A batch of an encoder or a search takes the device whole; a CPU worker takes one of its cores. The
station whose oldest job came first is served first, and what does not fit yet is not overtaken, so
nobody starves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simpy import Event

from hermes.sim.clock import Clock, Timer, begin_priority

if TYPE_CHECKING:
    from hermes.sim.stations.station import Station

__all__ = ["Executor"]


class Executor:
    """Shares of one device, handed to the stations that stand on it.

    Args:
        env: The SimPy environment.
        index: Its number among all replicas and executors; settles what shares a tick.
        shares: What a device divides into: the workers of a CPU, else 1.
    """

    def __init__(self, env: Clock, index: int, shares: int = 1) -> None:
        self.shares = shares
        self.free = shares
        self._priority = begin_priority(index)
        self._stations: list[Station] = []
        self._timer = Timer(env, self._start_batches)
        self._woken = False

    def add(self, station: Station) -> None:
        """Let a station stand here."""
        self._stations.append(station)

    def wake(self) -> None:
        """Look for work once all else of this tick has happened."""
        if not self._woken and self.free:
            self._woken = True
            self._timer.set(0, self._priority)

    def released(self, shares: int) -> None:
        """Take back shares of a batch that is done, for whoever waits."""
        self.free += shares
        for station in self._stations:
            if station.queue:
                self.wake()
                return

    def _start_batches(self, _: Event) -> None:
        self._woken = False
        while self.free:
            station = self._next()
            if station is None or station.needs > self.free:
                return
            self.free -= station.needs
            station.start_batch()

    def _next(self) -> Station | None:
        """Return the station whose oldest job has waited longest."""
        oldest: Station | None = None
        for station in self._stations:
            if station.queue and (oldest is None or station.oldest < oldest.oldest):
                oldest = station
        return oldest
