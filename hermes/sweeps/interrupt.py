"""Ctrl-C: once to stop with everything finished kept, twice to stop at once."""

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

_EXIT_CODE = 130


class Interrupt:
    """Notes the first Ctrl-C; use it as a context around a study's loop.

    The first one breaks only what the loop says may be broken, which is waiting for trials; never
    a write. The second one ends the process where it is: the files of a study are whole at every
    instant.
    """

    def __init__(self) -> None:
        self.pressed = False
        self._breakable = False
        self._before: Any = None

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    @contextmanager
    def breakable(self) -> Iterator[None]:
        """Leave the body early, in silence, when Ctrl-C is pressed."""
        self._breakable = True
        try:
            yield
        except KeyboardInterrupt:
            self.pressed = True
        finally:
            self._breakable = False

    def _press(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self.pressed:
            if sys.stderr.isatty():
                os.write(2, b"\x1b[?25h\n")  # the bar has hidden the cursor
            os._exit(_EXIT_CODE)
        self.pressed = True
        if self._breakable:
            raise KeyboardInterrupt
