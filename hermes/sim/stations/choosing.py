"""Which of a client's stations serves a stage: routing policies for clients without a KV cache."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from operator import attrgetter

import numpy as np

from hermes.sim.registry import Registry
from hermes.sim.stations.station import Station

__all__ = ["DEFAULT_CHOICE", "STATION_ROUTING", "StationPolicy"]

DEFAULT_CHOICE = "join_shortest_queue"

_outstanding = attrgetter("outstanding")


class StationPolicy(ABC):
    """Chooses among the stations of one client, for all stages that it serves.

    Args:
        rng: A random stream of its own.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    @abstractmethod
    def choose(self, stations: Sequence[Station]) -> Station:
        """Return one of `stations`, which are never none."""


STATION_ROUTING: Registry[type[StationPolicy]] = Registry(
    "routing policy of a client that serves no language model"
)
"""Their names are those that LLM clients know, too."""


@STATION_ROUTING.register("join_shortest_queue")
class ShortestQueue(StationPolicy):
    """The station with the fewest jobs queued or under way; the first among equals."""

    def choose(self, stations: Sequence[Station]) -> Station:
        """Return the shortest queue; see `StationPolicy`."""
        return min(stations, key=_outstanding)


@STATION_ROUTING.register("round_robin")
class RoundRobin(StationPolicy):
    """Each station in turn."""

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__(rng)
        self._next = 0

    def choose(self, stations: Sequence[Station]) -> Station:
        """Return the next station; see `StationPolicy`."""
        self._next += 1
        return stations[(self._next - 1) % len(stations)]


@STATION_ROUTING.register("random")
class Random(StationPolicy):
    """Any station, with equal chances."""

    def choose(self, stations: Sequence[Station]) -> Station:
        """Return a random station; see `StationPolicy`."""
        return stations[int(self._rng.integers(len(stations)))]


@STATION_ROUTING.register("power_of_two")
class PowerOfTwo(StationPolicy):
    """Of two random stations, the one with fewer jobs (Mitzenmacher 2001)."""

    def choose(self, stations: Sequence[Station]) -> Station:
        """Return the better of two; see `StationPolicy`."""
        if len(stations) == 1:
            return stations[0]
        first = int(self._rng.integers(len(stations)))
        second = int(self._rng.integers(len(stations) - 1))
        second += second >= first
        return min(stations[first], stations[second], key=_outstanding)
