"""Users of a closed loop: each waits for its answer, thinks, and asks again.

The requests of the workload are one queue that the users share: whoever is free takes the next.
When a request arrives is known once it does, and is written into the workload of the run.
"""

from __future__ import annotations

from collections.abc import Callable

from hermes.errors import SimulationError
from hermes.sim.clock import Clock
from hermes.workload import Workload

__all__ = ["Users", "own_arrivals"]


class Users:
    """The users of a closed loop.

    Args:
        env: The SimPy environment.
        workload: The requests, with arrivals of its own; see `own_arrivals`.
        arrive: Takes a request that arrives now.
    """

    def __init__(self, env: Clock, workload: Workload, arrive: Callable[[int], None]) -> None:
        loop = workload.closed_loop
        if loop is None:
            raise SimulationError("the workload has no users")
        self._env = env
        self._arrival = workload.arrival_ticks
        self._think = loop.think_ticks.tolist()
        self._users = loop.users
        self._arrive = arrive
        self._next = 0

    def start(self) -> None:
        """Let every user think for the first time."""
        for _ in range(min(self._users, len(self._think))):
            self._ask(0)

    def answered(self, delay: int = 0) -> None:
        """Hear that a user has its answer, or is told that there will be none.

        Args:
            delay: Ticks until it has; what the front end adds.
        """
        self._ask(delay)

    def _ask(self, delay: int) -> None:
        if self._next == len(self._think):
            return
        request, self._next = self._next, self._next + 1
        ready = self._env.timeout(delay + self._think[request])
        ready.callbacks.append(lambda _: self._arrived(request))

    def _arrived(self, request: int) -> None:
        self._arrival[request] = self._env.now
        self._arrive(request)


def own_arrivals(workload: Workload) -> Workload:
    """Return the workload for one run: that of a closed loop with arrivals that it can write."""
    if workload.closed_loop is None:
        return workload
    return workload.with_writable_arrivals()
