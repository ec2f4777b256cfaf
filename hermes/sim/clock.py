"""Simulated time: integer ticks on SimPy, and the order of what shares a tick.

Arrivals, transfers and the like run at SimPy's normal priority. Then all steps that end at this
tick end, one replica after another; then new batches are formed. So a batch formed at a tick sees
everything that has happened up to and including that tick, whatever order events were made in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simpy import Environment, Event

__all__ = ["Alarm", "Clock", "begin_priority", "end_priority"]

if TYPE_CHECKING:

    class Clock(Environment):
        """A SimPy environment whose time is integer ticks."""

        @property
        def now(self) -> int:
            """The current tick."""

        def peek(self) -> int:
            """Return the tick of the next event."""

else:
    Clock = Environment

_FIRST_END = 2
_FIRST_BEGIN = 1 << 30


def end_priority(replica: int) -> int:
    """Return the priority at which a replica's steps end."""
    return _FIRST_END + replica


def begin_priority(replica: int) -> int:
    """Return the priority at which a replica's batches are formed: after every end."""
    return _FIRST_BEGIN + replica


class Alarm(Event):
    """An event that fires once at a set time and priority, unless another one takes its place."""

    env: Clock

    def __init__(self, env: Clock) -> None:
        self.env = env
        self.callbacks = []
        self._value = None
        self._ok = True

    def set(self, delay: int, priority: int) -> Alarm:
        """Let it fire after a delay; not to be called twice."""
        self.env.schedule(self, priority, delay)  # type: ignore[arg-type]
        return self

    def moved(self, delay: int, priority: int) -> Alarm:
        """Return an alarm at another time that wakes whoever waits for this one, which it mutes."""
        other = Alarm(self.env).set(delay, priority)
        other.callbacks, self.callbacks = self.callbacks, []
        return other
