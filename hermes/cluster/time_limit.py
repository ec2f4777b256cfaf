"""A time limit on Python code, by the alarm signal: cheap, exact, and only for the main thread.

Code that never returns to the interpreter does not notice; for that the pool ends the process.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["OutOfTimeError", "time_limit"]


class OutOfTimeError(BaseException):
    """The limit has passed; no `except Exception` in between can swallow it."""


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raise `OutOfTimeError` in the body once *seconds* have passed; None is no limit."""
    main = threading.current_thread() is threading.main_thread()
    if seconds is None or not main:
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise OutOfTimeError

    before = signal.signal(signal.SIGALRM, ring)
    # The alarm repeats: a finalizer may be what the first one hits, and eats the exception.
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
