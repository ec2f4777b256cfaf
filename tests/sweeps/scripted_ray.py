"""A Ray that is a script: what becomes of every task is drawn from one seed, on a clock of its own.

It stands for `import ray` inside `TrialPool`, so the pool's own bookkeeping, retries and deadlines
run, and a thousand schedules take seconds. Trials are really simulated, once each, by
`hermes.cluster.trial.run_trial`; the script decides when a row comes back, if it does.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import ray.exceptions

from hermes.cluster.trial import run_trial

ERRORS = ray.exceptions
NODES = ("head", "left", "right")
_ENOUGH = 20_000


class DriverDiedError(BaseException):
    """The driver is killed here: nothing of ours may tidy up after it."""


@dataclass(eq=False)
class Task:
    """A task as the script sees it; also the reference that Ray would return."""

    setup: Any
    trials: tuple[Any, ...]
    number: int
    starts_at: float
    ends_at: float
    fate: str
    node: str
    told: bool = False  # the board has said that it started


@dataclass
class Script:
    """The world outside the driver, drawn from a seed.

    Attributes:
        seed: What everything is drawn from.
        cursed: Key of a trial that always kills its worker, or always hangs; and which of both.
        rows: Rows by trial key, simulated once for all schedules.
        dies_at: Number of the question to Ray at which the driver is killed.
    """

    seed: int
    rows: dict[str, dict[str, Any]]
    cursed: tuple[str, str] = ("", "")
    dies_at: int | None = None
    now: float = 0.0
    questions: int = 0
    tasks: list[Task] = field(default_factory=list)
    blows: Counter[str] = field(default_factory=Counter)
    living: frozenset[str] = frozenset(NODES)
    seen: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self._zombies: list[dict[str, Any]] = []

    # --- What the pool calls ----------------------------------------------------------------------

    exceptions = ERRORS

    def put(self, value: Any) -> Any:
        return value

    def remote(self, **options: Any) -> Any:
        assert options["max_retries"] == 0, "Ray must not retry behind our back"
        return lambda function: SimpleNamespace(remote=self._start)

    def wait(self, references: list[Task], num_returns: int, timeout: float) -> Any:
        self.questions += 1
        assert self.questions < _ENOUGH, f"seed {self.seed}: the study does not end"
        if self.questions == self.dies_at:
            raise DriverDiedError
        self._happen()
        done = [task for task in references if self._over(task)]
        if not done and timeout > 0:
            self.now += timeout
            done = [task for task in references if self._over(task)]
        self.rng.shuffle(done)
        done = done[:num_returns]
        return done, [task for task in references if task not in done]

    def get(self, task: Task) -> list[dict[str, Any]]:
        self.seen[task.fate] += 1
        if task.fate == "died":
            raise ERRORS.WorkerCrashedError
        if task.fate == "node died":
            raise ERRORS.NodeDiedError("the node died")
        if task.fate == "memory":
            raise ERRORS.OutOfMemoryError("no memory")
        return self._rows(task)

    def cancel(self, task: Task, force: bool) -> None:
        assert force
        if task.fate == "ok" and self.rng.random() < 0.5:
            self._zombies += self._rows(task)  # it delivers all the same, and too late

    # --- What stands in for board and nodes -------------------------------------------------------

    def news(self) -> dict[int, str]:
        started = [t for t in self.tasks if not t.told and self.now >= t.starts_at]
        for task in started:
            task.told = True
        return {task.number: task.node for task in started if task.fate != "unheard"}

    def zombies(self) -> list[dict[str, Any]]:
        """Rows that come once more, or from workers that were given up."""
        late, self._zombies = self._zombies, []
        self.seen["zombie"] += len(late)
        return [row | {"attempt": 9, "host": "elsewhere"} for row in late]

    # --- The script -------------------------------------------------------------------------------

    def _start(
        self, driver: str, setup: Any, trials: tuple[Any, ...], board: Any, number: int
    ) -> Task:
        del driver, board
        waits = self.rng.choice([0.0, 0.0, 0.1, 3.0])
        node = self.rng.choice(sorted(self.living))
        fate = self._fate(trials)
        ends = self.now + waits + self.rng.expovariate(1.0)
        task = Task(setup, trials, number, self.now + waits, ends, fate, node)
        if fate == "hangs":
            task.ends_at = float("inf")
        self.tasks.append(task)
        return task

    def _fate(self, trials: tuple[Any, ...]) -> str:
        cursed, curse = self.cursed
        if any(trial.key == cursed for trial in trials):
            return curse
        fate = self.rng.choices(
            ["ok", "partial", "unheard", "died", "node died", "memory", "hangs"],
            [60, 8, 8, 8, 6, 5, 5],
        )[0]
        if fate in {"ok", "partial", "unheard"} or len(trials) > 1:
            return fate
        # A trial alone in its task is blamed for what happens to it, so it is hit only as often
        # as the pool forgives: twice by a crash, once by a lack of memory, never by a hang.
        key = trials[0].key
        most = {"died": 2, "node died": 2, "memory": 1}.get(fate, 0)
        if trials[0].attempt > most:
            return "ok"
        self.blows[key] += 1
        return fate

    def _happen(self) -> None:
        """Let a little time pass; sometimes a node is lost with all that runs there, or joins."""
        self.now += self.rng.random() * 0.2
        if self.rng.random() < 0.02 and len(self.living) > 1:
            lost = self.rng.choice(sorted(self.living - {"head"}))
            hit = [t for t in self.tasks if t.node == lost and not self._over(t)]
            if all(len(t.trials) > 1 or t.trials[0].attempt < 3 for t in hit):
                self.living -= {lost}
                self.seen["node lost"] += 1
                for task in hit:
                    task.ends_at = float("inf")  # frozen: it neither ends nor says so
        elif self.rng.random() < 0.02:
            self.living |= {f"node-{self.questions}"}  # a node that comes back has a new name

    def _over(self, task: Task) -> bool:
        return self.now >= task.ends_at

    def _rows(self, task: Task) -> list[dict[str, Any]]:
        trials = task.trials
        if task.fate == "partial":
            trials = trials[: self.rng.randint(1, len(trials))]
        rows = [self._row(task.setup, trial) for trial in trials]
        if self.rng.random() < 0.15:
            self._zombies += rows
        return rows

    def _row(self, setup: Any, trial: Any) -> dict[str, Any]:
        if trial.key not in self.rows:
            self.rows[trial.key] = run_trial(setup, replace(trial, attempt=1, number=0))
        row = {"number": trial.number, "attempt": trial.attempt}
        return self.rows[trial.key] | row | {"trial_seconds": self.rng.choice([0.01, 0.1, 2.0])}


class ScriptedBoard:
    """Where tasks say that they have started."""

    handle = None

    def __init__(self, script: Script) -> None:
        self._script = script

    def news(self) -> dict[int, str]:
        return self._script.news()

    def close(self) -> None:
        pass


class ScriptedNodes:
    """Which nodes live."""

    def __init__(self, script: Script) -> None:
        self._script = script

    @property
    def living(self) -> frozenset[str]:
        return self._script.living

    def close(self) -> None:
        pass


class WithZombies:
    """A pool whose rows come twice now and then, or long after they were given up."""

    def __init__(self, pool: Any, script: Script) -> None:
        self._pool = pool
        self._script = script
        self._waits = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def wait(self, timeout_s: float) -> list[dict[str, Any]]:
        self._waits += 1
        assert self._waits < _ENOUGH, f"seed {self._script.seed}: the study does not end"
        rows = self._pool.wait(timeout_s)
        return [*rows, *self._script.zombies()]
