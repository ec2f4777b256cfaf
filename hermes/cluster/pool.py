"""Trials on Ray: a bounded window of tasks, results in completion order, our own retries.

Trials are packed so that a task lasts about a second, which makes Ray's millisecond a task
negligible. Ray retries nothing (`max_retries=0`): by default it repeats a crash four times and a
lack of memory for ever. What became of a task that did not report is settled here:

- a worker or node that died: its trials run again, each in a task of its own, so that the one that
  kills its worker is found and the others go free; three times in all, then the row says so;
- out of memory: the same, twice in all;
- past its hard deadline: the process is ended; a trial alone in its task has its row, trials of a
  shared task run again alone;
- on a node that is lost, or waiting for one: Ray says so at once where a node died, and takes
  minutes where it froze. So what had started there counts as lost when Ray's head declares the
  node dead, and what has not started anywhere soon after is sent anew.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from hermes.cluster.board import Board, announce
from hermes.cluster.nodes import Nodes
from hermes.cluster.session import RaySession
from hermes.cluster.trial import Row, Trial, TrialSetup, failure, run_trial
from hermes.cluster.versions import OtherVersionsError, require_versions, versions
from hermes.errors import HermesError

__all__ = ["PoolLimits", "TrialPool"]

_TASK_S = 1.0  # how long a task should last
_PACK_BUDGET_S = 5.0  # a task starts no further trial after this
_LARGEST_PACK = 256
_SMOOTHING = 0.3
_START_S = 10.0  # after a node was lost, what has not started by then is sent anew


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """How much is in flight, and how often a lost trial is tried.

    Attributes:
        tasks_per_cpu: Tasks in flight for each CPU.
        crash_attempts: Tries of a trial whose worker died.
        memory_attempts: Tries of a trial that ran out of memory.
        grace_s: What a task may take beyond its trials' limit before it is ended.
    """

    tasks_per_cpu: int = 3
    crash_attempts: int = 3
    memory_attempts: int = 2
    grace_s: float = 10.0


@dataclass(slots=True)
class _Task:
    """A pack of trials in flight.

    Attributes:
        trials: The trials.
        number: Its number on the board.
        since: When it was heard to have started; None while it waits.
        node: Where it runs.
        give_up_at: When it is sent anew, if it has not started by then; None: never.
    """

    trials: tuple[Trial, ...]
    number: int
    since: float | None = None
    node: str = ""
    give_up_at: float | None = None


class TrialPool:
    """Runs trials as Ray tasks; see `Executor` for the methods.

    Args:
        session: The Ray to run on.
        setup: What all trials share; goes into the object store once.
        limits: Window and retries.
    """

    def __init__(
        self, session: RaySession, setup: TrialSetup, limits: PoolLimits | None = None
    ) -> None:
        import ray

        self._ray = ray
        self._session = session
        self._limits = limits or PoolLimits()
        self._window = max(2, session.cpus * self._limits.tasks_per_cpu)
        self._time_limit_s = setup.time_limit_s
        self._setup = ray.put(setup)
        self._run = ray.remote(num_cpus=1, max_retries=0)(run_pack)
        self._tasks: dict[Any, _Task] = {}  # by reference, oldest first
        self._fresh: deque[Trial] = deque()
        self._alone: deque[Trial] = deque()  # to be run each in its own task
        self._mean_s: float | None = None
        self._board = Board()
        self._numbers = itertools.count()
        self._watch = Nodes()
        self._nodes = self._watch.living

    @property
    def width(self) -> int:
        """CPUs that trials run on."""
        return self._session.cpus

    def wanted(self) -> int:
        """Return how many more trials fill the window; see `Executor`."""
        flying = sum(len(task.trials) for task in self._tasks.values())
        waiting = len(self._fresh) + len(self._alone)
        return self._window * self._pack() - flying - waiting

    def submit(self, trials: Sequence[Trial]) -> None:
        """Queue trials and fill the window; see `Executor`."""
        self._fresh.extend(trials)
        self._launch()

    def wait(self, timeout_s: float) -> list[Row]:
        """Return finished rows; see `Executor`."""
        self._launch()
        if not self._tasks:
            return []
        references = list(self._tasks)
        ready, _ = self._ray.wait(references, num_returns=1, timeout=timeout_s)
        if ready:
            ready, _ = self._ray.wait(references, num_returns=len(references), timeout=0)
        rows: list[Row] = []
        for reference in ready:
            rows += self._collect(reference, self._tasks.pop(reference))
        self._hear()
        rows += self._leave_lost_nodes()
        rows += self._end_overdue()
        self._launch()
        return rows

    def close(self) -> None:
        """End every task in flight; see `Executor`."""
        for reference in self._tasks:
            with contextlib.suppress(Exception):
                self._ray.cancel(reference, force=True)
        self._tasks.clear()
        self._fresh.clear()
        self._alone.clear()
        self._watch.close()
        self._board.close()

    def _pack(self) -> int:
        if self._mean_s is None:
            return 1
        return max(1, min(_LARGEST_PACK, int(_TASK_S / max(self._mean_s, 1e-6))))

    def _launch(self) -> None:
        while self._alone and len(self._tasks) < self._window:
            self._start((self._alone.popleft(),))
        free = self._window - len(self._tasks)
        # The last trials of a study are spread over all workers rather than packed.
        size = min(self._pack(), -(-len(self._fresh) // free)) if free > 0 else 1
        while self._fresh and len(self._tasks) < self._window:
            pack = tuple(islice(self._fresh, size))
            for _ in pack:
                self._fresh.popleft()
            self._start(pack)

    def _start(self, trials: tuple[Trial, ...]) -> None:
        number = next(self._numbers)
        reference = self._run.remote(versions(), self._setup, trials, self._board.handle, number)
        self._tasks[reference] = _Task(trials, number)

    def _collect(self, reference: Any, task: _Task) -> list[Row]:
        errors = self._ray.exceptions
        try:
            rows: list[Row] = self._ray.get(reference)
        except errors.OutOfMemoryError:
            message = "a worker ran out of memory"
            return self._lost(task, "OutOfMemoryError", message, self._limits.memory_attempts)
        except (
            errors.WorkerCrashedError,
            errors.NodeDiedError,
            errors.ObjectLostError,
            errors.TaskCancelledError,
            errors.RaySystemError,
        ) as error:
            message = "the worker process died, by a crash or with its node"
            return self._lost(task, type(error).__name__, message, self._limits.crash_attempts)
        except errors.RayError as error:
            if isinstance(error, errors.RayTaskError) and isinstance(
                error.cause, OtherVersionsError
            ):
                raise error.cause from None
            last = str(error).strip().splitlines()[-1:]
            return self._lost(task, type(error).__name__, "".join(last), 1)
        for row in rows:
            seconds = float(row["trial_seconds"])
            mean = seconds if self._mean_s is None else self._mean_s
            self._mean_s = mean + _SMOOTHING * (seconds - mean)
        # What the pack had no time for comes first in the next one.
        self._fresh.extendleft(reversed(task.trials[len(rows) :]))
        return rows

    def _lost(self, task: _Task, error_type: str, message: str, attempts: int) -> list[Row]:
        if len(task.trials) > 1:
            # Nobody knows which of them did it; each is tried alone, and none is blamed yet.
            self._alone.extend(task.trials)
            return []
        trial = task.trials[0]
        if trial.attempt < attempts:
            self._alone.append(replace(trial, attempt=trial.attempt + 1))
            return []
        tries = f" ({trial.attempt} attempts)" if trial.attempt > 1 else ""
        return [failure(trial, "failed", error_type, message + tries)]

    def _end_overdue(self) -> list[Row]:
        if self._time_limit_s is None:
            return []
        now = time.monotonic()
        rows: list[Row] = []
        for reference, task in list(self._tasks.items()):
            if task.since is None:
                continue  # it still waits for a CPU
            budget = _PACK_BUDGET_S if len(task.trials) > 1 else 0.0
            if now - task.since <= self._time_limit_s + budget + self._limits.grace_s:
                continue
            del self._tasks[reference]
            self._end(reference)
            if len(task.trials) > 1:
                self._alone.extend(task.trials)
                continue
            limit = f"{self._time_limit_s:g} s"
            message = f"did not stop at its time limit of {limit}, so its process was ended"
            rows.append(
                failure(task.trials[0], "timeout", "TrialTimeoutError", message, now - task.since)
            )
        return rows

    def _hear(self) -> None:
        """Note which tasks have started."""
        news = self._board.news()
        if news:
            now = time.monotonic()
            for task in self._tasks.values():
                if task.number in news:
                    task.since, task.node, task.give_up_at = now, news[task.number], None

    def _leave_lost_nodes(self) -> list[Row]:
        """Take the trials of nodes that were lost away from them, and what may wait for them."""
        now, living = time.monotonic(), self._watch.living
        if not self._nodes <= living:
            for task in self._tasks.values():
                if task.since is None:
                    task.give_up_at = now + _START_S
        self._nodes = living
        rows: list[Row] = []
        for reference, task in list(self._tasks.items()):
            if task.node and task.node not in self._nodes:
                del self._tasks[reference]
                self._end(reference)
                message = "the node it ran on was lost"
                rows += self._lost(task, "NodeDiedError", message, self._limits.crash_attempts)
            elif task.give_up_at is not None and now > task.give_up_at:
                del self._tasks[reference]
                self._end(reference)
                self._fresh.extendleft(reversed(task.trials))
        return rows

    def _end(self, reference: Any) -> None:
        try:
            self._ray.cancel(reference, force=True)
        except self._ray.exceptions.RayError as error:
            raise HermesError(f"cannot end a Ray task that hangs: {error}") from error


def run_pack(
    driver: str, setup: TrialSetup, trials: Sequence[Trial], board: Any, task: int
) -> list[Row]:
    """Run trials one after another, fewer than given once they take long; a Ray task."""
    require_versions(driver)
    announce(board, task)
    started = time.monotonic()
    rows = []
    for trial in trials:
        rows.append(run_trial(setup, trial))
        if time.monotonic() - started > _PACK_BUDGET_S:
            break
    return rows
