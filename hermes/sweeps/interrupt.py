"""Signals that end a study: once to stop with everything finished kept, twice to stop at once.

Ctrl-C (SIGINT), SIGTERM, which Slurm and Kubernetes send before they kill, and SIGHUP, which a
closed terminal sends, are treated alike.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["Interrupt"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_BASE = 128  # a shell's exit code for a signal is 128 and its number


class Interrupt:
    """Notes the first signal to stop; use it as a context around a study's loop.

    The first one breaks only what the loop says may be broken, which is waiting for trials; never
    a write. The second one ends the process where it is: the files of a study are whole at every
    instant.
    """

    def __init__(self) -> None:
        self.exit_code: int | None = None
        self._breakable = False
        self._before: dict[signal.Signals, Any] = {}

    @property
    def pressed(self) -> bool:
        """Whether a signal to stop has come."""
        return self.exit_code is not None

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # under nohup a hangup is none
                    self._before[number] = signal.signal(number, self._press)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    @contextmanager
    def breakable(self) -> Iterator[None]:
        """Leave the body early, in silence, when a signal to stop comes."""
        self._breakable = True
        try:
            yield
        except KeyboardInterrupt:
            self.exit_code = self.exit_code or _BASE + signal.SIGINT
        finally:
            self._breakable = False

    def _press(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.pressed:
            if sys.stderr.isatty():
                os.write(2, b"\x1b[?25h\n")  # the bar has hidden the cursor
            os._exit(_BASE + number)
        self.exit_code = _BASE + number
        if self._breakable:
            raise KeyboardInterrupt
