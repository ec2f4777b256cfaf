"""Whether anything is left to do: what repeats itself for ever has to know when to stop."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from simpy import Event

from hermes.sim.clock import Clock
from hermes.sim.request_log import RequestLog

__all__ = ["Watch"]


class Watch:
    """Shared by all processes of one simulation that would go on for ever.

    Args:
        env: The SimPy environment.
        log: Knows which requests have ended.

    Attributes:
        scalers: Autoscalers that may still start a replica.
    """

    def __init__(self, env: Clock, log: RequestLog) -> None:
        self.scalers = 0
        self._env = env
        self._log = log
        self._asleep = 0

    @property
    def over(self) -> bool:
        """Whether every request has ended."""
        return self._log.all_ended()

    @property
    def anything_else(self) -> bool:
        """Whether anything happens but that such processes wake up."""
        return len(self._env._queue) > self._asleep

    def sleep(self, ticks: int) -> Generator[Event, Any, None]:
        """Wait, without counting as something that happens."""
        self._asleep += 1
        yield self._env.timeout(ticks)
        self._asleep -= 1
