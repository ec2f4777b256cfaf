"""Progress of a profile: a bar on a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

__all__ = ["Progress", "open_progress"]

_LINE_S = 5.0


class Progress(Protocol):
    """Says how far a profile is."""

    def show(self, done: int, total: int, elapsed: float, seconds: float, what: str) -> None:
        """Say how many points are done, and how much of the time."""

    def say(self, text: str) -> None:
        """Say something else."""

    def close(self) -> None:
        """End."""


def open_progress(quiet: bool) -> Progress:
    """Return what suits where standard error goes."""
    if quiet:
        return _Silence()
    return _Bar() if sys.stderr.isatty() else _Lines(sys.stderr)


class _Silence:
    def show(self, done: int, total: int, elapsed: float, seconds: float, what: str) -> None:
        """Say nothing."""

    def say(self, text: str) -> None:
        """Say nothing."""

    def close(self) -> None:
        """Do nothing."""


class _Lines:
    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._last = -_LINE_S

    def show(self, done: int, total: int, elapsed: float, seconds: float, what: str) -> None:
        now = time.monotonic()
        if now - self._last >= _LINE_S:
            self._last = now
            self.say(f"{done}/{total} points, {elapsed:.0f} of {seconds:.0f} s: {what}")

    def say(self, text: str) -> None:
        self._file.write(text + "\n")
        self._file.flush()

    def close(self) -> None:
        """Do nothing."""


class _Bar:
    def __init__(self) -> None:
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None

    def _open(self, seconds: float) -> RichProgress:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        bar = Progress(
            TextColumn("{task.fields[count]} points"),
            BarColumn(24),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=Console(stderr=True),
        )
        self._task = bar.add_task("", total=seconds, count="0")
        bar.start()
        return bar

    def show(self, done: int, total: int, elapsed: float, seconds: float, what: str) -> None:
        if self._bar is None:
            self._bar = self._open(seconds)
        if self._task is not None:
            self._bar.update(
                self._task, completed=elapsed, description=what, count=f"{done}/{total}"
            )

    def say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text)
        else:
            sys.stderr.write(text + "\n")

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
