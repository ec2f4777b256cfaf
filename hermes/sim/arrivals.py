"""Requests as they come: one timer for all of them, and few of them unpacked at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from simpy import Event
from simpy.events import NORMAL

from hermes.sim.clock import Clock, Timer
from hermes.workload import Workload

__all__ = ["Arrivals"]

_AT_ONCE = 4096

Request = tuple[int, int, int, int]
"""Tick of its arrival, prompt tokens, output tokens, and the number of its pipeline."""


class Arrivals:
    """Brings the requests of a workload in, each at its tick.

    Args:
        env: The clock.
        workload: The requests, in the order in which they come.
        bring: Is given each request when it comes: its number, the tick, its prompt and output
            tokens, and the number of its pipeline.
    """

    def __init__(
        self, env: Clock, workload: Workload, bring: Callable[[int, int, int, int, int], None]
    ) -> None:
        self._env = env
        self._bring = bring
        self._requests = enumerate(_unpacked(workload))
        self._next = next(self._requests, None)
        self._timer = Timer(env, self._on_time)
        self._await_next()

    def _on_time(self, event: Event) -> None:
        del event
        now, bring = self._env.now, self._bring
        while self._next is not None and self._next[1][0] <= now:
            request, (_, prompt, output, pipeline) = self._next
            bring(request, now, prompt, output, pipeline)
            self._next = next(self._requests, None)
        self._await_next()

    def _await_next(self) -> None:
        if self._next is not None:
            self._timer.set(max(0, self._next[1][0] - self._env.now), NORMAL)


def _unpacked(workload: Workload) -> Iterator[Request]:
    columns = (
        workload.arrival_ticks,
        workload.prompt_tokens,
        workload.output_tokens,
        workload.pipeline,
    )
    for begin in range(0, len(workload), _AT_ONCE):
        yield from zip(
            *(column[begin : begin + _AT_ONCE].tolist() for column in columns), strict=True
        )
