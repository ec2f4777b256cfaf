"""What runs trials, as a study sees it; and the simplest one: here, one after another."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from hermes.cluster.trial import Row, Trial, TrialSetup, run_trial

__all__ = ["Executor", "InProcessExecutor"]


class Executor(Protocol):
    """Takes trials and returns rows in the order they finish, one for each trial."""

    @property
    def width(self) -> int:
        """How many trials run side by side."""

    def wanted(self) -> int:
        """Return how many more trials would keep every worker busy."""

    def submit(self, trials: Sequence[Trial]) -> None:
        """Take trials; returns at once."""

    def wait(self, timeout_s: float) -> list[Row]:
        """Return the rows finished since the last call, waiting for the first of them."""

    def close(self) -> None:
        """Stop what still runs; its rows are lost."""


class InProcessExecutor:
    """Runs trials in this process, each when it is waited for."""

    def __init__(self, setup: TrialSetup) -> None:
        self._setup = setup
        self._queue: deque[Trial] = deque()

    @property
    def width(self) -> int:
        """One: trials run one after another."""
        return 1

    def wanted(self) -> int:
        """Return how many more trials would keep this process busy; see `Executor`."""
        return 1 - len(self._queue)

    def submit(self, trials: Sequence[Trial]) -> None:
        """Queue trials; see `Executor`."""
        self._queue.extend(trials)

    def wait(self, timeout_s: float) -> list[Row]:
        """Run the oldest trial; see `Executor`. The timeout does not cut it short."""
        del timeout_s
        return [run_trial(self._setup, self._queue.popleft())] if self._queue else []

    def close(self) -> None:
        """Forget the queue; see `Executor`."""
        self._queue.clear()
