"""Progress of a study: how much is done, how fast, what is best; a bar, plain lines, or nothing."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

__all__ = ["Bests", "Progress", "open_progress"]

_LINE_S = 5.0
_REDRAW_S = 0.2
_BAR_WIDTH = 24


class Bests:
    """The best feasible value of each objective so far."""

    def __init__(self, objectives: Mapping[str, str]) -> None:
        self._objectives = objectives
        self._best: dict[str, float] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        """Take a finished trial into account."""
        if row.get("status") != "completed" or not row.get("feasible"):
            return
        for name, direction in self._objectives.items():
            value = row.get(name)
            if value is None:
                continue
            best = self._best.get(name, value)
            self._best[name] = min(best, value) if direction == "minimize" else max(best, value)

    def __str__(self) -> str:
        if not self._best:
            return "none feasible yet"
        return ", ".join(f"{name} {self._best[name]:.4g}" for name in self._best)


class Progress(Protocol):
    """Shows how far a study is; use it as a context."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def show(self, counts: Counter[str], bests: Bests) -> None:
        """Say how many trials ended in which way, those of earlier runs included."""

    def say(self, text: str) -> None:
        """Say something that does not belong to the bar."""


def open_progress(total: int | None, before: int, quiet: bool) -> Progress:
    """Return what suits where standard error goes.

    Args:
        total: Trials in all; None where it is not known.
        before: Trials of them that earlier runs finished.
        quiet: Show nothing.
    """
    if quiet:
        return _Silence()
    if sys.stderr.isatty():
        return _Bar(total, before)
    return _Lines(total, before, sys.stderr)


class _Silence:
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def show(self, counts: Counter[str], bests: Bests) -> None:
        pass

    def say(self, text: str) -> None:
        pass


class _Lines(_Silence):
    """A line every few seconds, for logs."""

    def __init__(self, total: int | None, before: int, out: TextIO) -> None:
        self._total = total
        self._before = before
        self._out = out
        self._started = self._last = time.monotonic()
        self._state: tuple[Counter[str], Bests] | None = None

    def __exit__(self, *_: object) -> None:
        if self._state is not None:
            self._write(*self._state)

    def show(self, counts: Counter[str], bests: Bests) -> None:
        self._state = counts, bests
        now = time.monotonic()
        if now - self._last >= _LINE_S:
            self._last = now
            self._write(counts, bests)

    def say(self, text: str) -> None:
        self._out.write(text + "\n")
        self._out.flush()

    def _write(self, counts: Counter[str], bests: Bests) -> None:
        done = counts.total()
        seconds = time.monotonic() - self._started
        rate = (done - self._before) / seconds if seconds > 0 else 0.0
        left = ""
        if self._total is not None and self._total > done and rate > 0:
            left = f", {(self._total - done) / rate:.0f} s left"
        of = f"/{self._total}" if self._total is not None else ""
        self.say(f"{done}{of} trials{_told(counts)}, {rate:.1f}/s{left}; best: {bests}")


class _Bar(_Silence):
    """A bar that moves, for terminals."""

    def __init__(self, total: int | None, before: int) -> None:
        self._total = total
        self._before = before
        self._started = time.monotonic()
        self._last = 0.0
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._bar = RichProgress(
            BarColumn(_BAR_WIDTH),
            MofNCompleteColumn(),
            TextColumn("{task.fields[told]}", markup=False),
            TimeRemainingColumn(compact=True),
            TextColumn("best: {task.fields[best]}", markup=False),
            console=Console(stderr=True),
            redirect_stdout=False,
        )
        self._task = self._bar.add_task("", total=self._total, told="", best="none yet")
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, counts: Counter[str], bests: Bests) -> None:
        now = time.monotonic()
        done = counts.total()
        if self._bar is None or self._task is None:
            return
        if now - self._last < _REDRAW_S and done != self._total:
            return
        self._last = now
        rate = (done - self._before) / max(now - self._started, 1e-9)
        told = f"{_told(counts)} {rate:.1f}/s".strip(", ")
        self._bar.update(self._task, completed=done, told=told, best=str(bests))

    def say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)


def _told(counts: Counter[str]) -> str:
    """Return what did not go well, as `, 3 infeasible, 1 failed`."""
    shown = [f"{counts[status]} {status}" for status in sorted(counts) if status != "completed"]
    return "".join(f", {text}" for text in shown)
