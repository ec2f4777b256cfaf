"""Simulated time: integer ticks on SimPy, and the order of what shares a tick.

Arrivals, transfers and the like run at SimPy's normal priority. Then all steps that end at this
tick end, one replica after another; then new batches are formed. So a batch formed at a tick sees
everything that has happened up to and including that tick, whatever order events were made in.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from simpy import Environment, Event

__all__ = ["Alarm", "Clock", "Timer", "begin_priority", "end_priority"]

Wakes = Callable[[Event], None]


class Clock(Environment):
    """A SimPy environment whose time is integer ticks."""

    _now: int

    if TYPE_CHECKING:

        @property
        def now(self) -> int:
            """The current tick."""

        def peek(self) -> int:
            """Return the tick of the next event."""

    else:
        now = property(attrgetter("_now"), doc="The current tick.")  # SimPy's, without a frame

    def more_now(self) -> bool:
        """Whether anything else happens at this tick."""
        queue = self._queue
        return bool(queue) and queue[0][0] == self._now

    def run(self, until: Any = None) -> Any:
        """Run to the end, as SimPy does, without a call for each event; or to `until`."""
        if until is not None:
            return super().run(until)
        queue = self._queue
        while queue:
            self._now, _, _, event = heappop(queue)  # type: ignore[assignment]
            callbacks, event.callbacks = event.callbacks, None  # type: ignore[assignment]
            for callback in callbacks:
                callback(event)
            if not event._ok and not hasattr(event, "_defused"):
                raise event._value  # as SimPy would: nobody has dealt with it
        return None


_FIRST_END = 2
_FIRST_BEGIN = 1 << 30


def end_priority(replica: int) -> int:
    """Return the priority at which a replica's steps end."""
    return _FIRST_END + replica


def begin_priority(replica: int) -> int:
    """Return the priority at which a replica's batches are formed: after every end."""
    return _FIRST_BEGIN + replica


class Timer(Event):
    """An event that calls one function, and can be set again whenever it has.

    Args:
        env: The clock.
        calls: The function; the event it is given is of no use to it.
    """

    env: Clock
    _value = None
    _ok = True

    def __init__(self, env: Clock, calls: Wakes) -> None:
        self.env = env
        self._calls = [calls]
        self.callbacks: list[Wakes] = []

    def set(self, delay: int, priority: int) -> None:
        """Let it fire after a delay; not to be called while it is set."""
        env = self.env
        self.callbacks = self._calls
        heappush(env._queue, (env._now + delay, priority, next(env._eid), self))  # type: ignore[misc]

    def moved(self, delay: int, priority: int) -> Timer:
        """Return a timer of the same function, set to another time; this one never fires again."""
        self.callbacks = []
        other = Timer(self.env, self._calls[0])
        other.set(delay, priority)
        return other


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
