"""Batching policies that do what a trial should not, found by `tests.sweeps.misbehaving:NAME`."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time

from hermes.sim.batching.chunked import Chunked


class Raises(Chunked):
    def form(self, engine):
        raise ValueError("the policy is broken " + "x" * 5000)


class OddError(Exception):
    """Cannot be pickled, and cannot even be shown."""

    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()

    def __str__(self):
        raise RuntimeError("no words")


class _Strange(BaseException):
    """No `except Exception` catches it."""


ODD_ERRORS = {
    "AssertionError": AssertionError,
    "ZeroDivisionError": lambda: ZeroDivisionError("by zero"),
    "StopIteration": lambda: StopIteration(3),
    "GeneratorExit": GeneratorExit,
    "OSError": lambda: OSError(28, "No space left on device"),
    "UnicodeDecodeError": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "\udcff"),
    "ExceptionGroup": lambda: ExceptionGroup("two", [ValueError("one"), KeyError("other")]),
    "OddError": OddError,
    "_Strange": lambda: _Strange("a base exception"),
    "ValueError": lambda: ValueError("x" * 10**8),
}
"""Ways to fail by the name of what is raised."""


class RaisesOddly(Chunked):
    """Raises what the environment says."""

    def form(self, engine):
        raise ODD_ERRORS[os.environ["HERMES_TEST_ERROR"]]()


class Exits(Chunked):
    def form(self, engine):
        raise SystemExit(3)


class Recurses(Chunked):
    def form(self, engine):
        return self.form(engine)


class Spins(Chunked):
    """Never returns, and swallows every exception it can."""

    def form(self, engine):
        while True:
            with contextlib.suppress(Exception):
                time.sleep(0.01)


class Deaf(Chunked):
    """Never returns, whatever is raised in it."""

    def form(self, engine):
        while True:
            with contextlib.suppress(BaseException):
                time.sleep(0.01)


class IgnoresItsAlarm(Chunked):
    """Never returns, and no alarm wakes it: as code in C that does not look up."""

    def form(self, engine):
        signal.setitimer(signal.ITIMER_REAL, 0)
        while True:
            time.sleep(1)


class EatsMemory(Chunked):
    """Grows without bound, in Python objects."""

    def form(self, engine):
        held = []
        while True:
            held.append(bytearray(2**24))


class Dies(Chunked):
    def form(self, engine):
        os._exit(7)


class DiesOnce(Chunked):
    """Kills its process the first time; the environment says where it notes that it did."""

    def form(self, engine):
        try:
            os.close(os.open(os.environ["HERMES_TEST_DIED"], os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return super().form(engine)
        os._exit(7)


class Slow(Chunked):
    """As usual, but three hundredths of a second late."""

    def __init__(self):
        super().__init__()
        self._waited = False

    def form(self, engine):
        if not self._waited:
            self._waited = True
            time.sleep(0.03)
        return super().form(engine)
