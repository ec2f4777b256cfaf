"""Signals, and the processes that wait for them: as SimPy's, but what is over is over at once.

A walk waits mostly for somebody to say that its turn is over. A SimPy event would say so by way of
the schedule, at the same tick; a signal says so at once. The process of a walk takes both.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from simpy import Event

__all__ = ["Signal", "Waitable", "start"]


class Signal:
    """Something to wait for that lets those who wait go on the moment it is given."""

    __slots__ = ("_value", "callbacks", "given")

    def __init__(self) -> None:
        self.callbacks: list[Callable[[Any], None]] = []
        self.given = False
        self._value: Any = None

    def give(self, value: Any = None) -> None:
        """Let those who wait go on, with a value."""
        self.given = True
        self._value = value
        for callback in self.callbacks:
            callback(self)


Waitable = Event | Signal
"""What a walk can wait for."""


def start(steps: Generator[Waitable, Any, None]) -> None:
    """Run a process, now, until it first has to wait; then whenever what it waits for is there."""
    _Process(steps).go_on(None)


class _Process:
    """A generator and what resumes it."""

    __slots__ = ("_send",)

    def __init__(self, steps: Generator[Waitable, Any, None]) -> None:
        self._send = steps.send

    def go_on(self, there: Waitable | None) -> None:
        """Resume with what it waited for."""
        try:
            wanted = self._send(None if there is None else there._value)
            while isinstance(wanted, Signal) and wanted.given:
                wanted = self._send(wanted._value)
        except StopIteration:
            return
        wanted.callbacks.append(self.go_on)
