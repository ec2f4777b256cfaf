"""Any order of events: a study under faults drawn from a seed has the rows of an undisturbed one.

The real loop, the real pool and the real store run against a scripted Ray: tasks end in any order,
late, partly, twice or never, workers and nodes die, the driver is killed between two questions or
at a system call and the study resumed. A failure names its seed.
"""

from __future__ import annotations

import contextlib
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hermes.cluster import TrialPool, TrialSetup
from hermes.cluster import pool as pool_module
from hermes.results.local_place import LocalPlace
from hermes.sweeps import Pace
from hermes.sweeps import run as run_module
from hermes.sweeps.run import RunOptions, run
from tests.results.fault_files import Crash, CrashingFiles
from tests.sweeps.scripted_ray import (
    DriverDiedError,
    Script,
    ScriptedBoard,
    ScriptedNodes,
    WithZombies,
)
from tests.sweeps.small_study import PROVENANCE, loaded, rows_of, run_here

CHANGES = {"space": {"clients.chat.device": ["h100-sxm", "l40s"],
                     "clients.chat.max_num_seqs": [1, 2, 4], "seed": [0, 1, 2]}}  # fmt: skip
TRIALS = 18
CALLS = 120  # system calls of the undisturbed study, about


class QuickFiles(CrashingFiles):
    """Dies at a chosen call; and does not wait for the disk, which a killed process never misses.

    A sync counts as a call all the same, so a crash may fall on it.
    """

    def sync(self, descriptor: int) -> None:
        self._note("sync")

    def sync_folder(self, path: Path) -> None:
        self._note("sync_folder")

    def _note(self, name: str) -> None:
        if self.dead:
            raise Crash(name)
        self.calls.append(name)
        if len(self.calls) - 1 == self.at:
            self.dead = True
            raise Crash(name)


class World:
    """Replaces what lies outside the driver: Ray, the clock of the pool, the system calls."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.script = Script(0, {})
        self.files = QuickFiles(-1, "before")
        patch.setattr(run_module, "_executor", self._executor)
        patch.setattr(run_module, "open_place", lambda out: LocalPlace(Path(out), self.files))
        patch.setattr(pool_module, "Board", lambda: ScriptedBoard(self.script))
        patch.setattr(pool_module, "Nodes", lambda: ScriptedNodes(self.script))
        patch.setattr(pool_module, "time", SimpleNamespace(monotonic=lambda: self.script.now))
        for name in ("put", "remote", "wait", "get", "cancel"):
            patch.setattr(f"ray.{name}", self._call(name))

    def _call(self, name: str) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            return getattr(self.script, name)(*args, **options)  # of the script as it is then

        return call

    @contextlib.contextmanager
    def _executor(self, study: Any, options: Any) -> Any:
        del options
        setup = TrialSetup(study.scenario, str(study.folder), 20.0, study.files)
        session = SimpleNamespace(cpus=2)
        pool = TrialPool(session, setup)
        try:
            yield WithZombies(pool, self.script)
        finally:
            pool.close()


def play(world: World, study: Any, out: Path, seed: int, rows: dict[str, Any]) -> Script:
    """Drive a study to its end, however often its driver is killed; return the last script."""
    rng = random.Random(seed)
    cursed = ("", "")
    if rng.random() < 0.3:
        point = study.space.at(rng.randrange(TRIALS))
        cursed = (study.candidates.build(point).key, rng.choice(["died", "hangs"]))
    kills = rng.choice([0, 1, 1, 2, 4])
    for life in range(kills + 1):
        last = life == kills
        script = Script(rng.randrange(2**32), rows, cursed)
        crash = -1
        if not last and rng.random() < 0.5:
            script.dies_at = rng.randint(1, 12)
        elif not last:
            crash = rng.randrange(CALLS)
        world.script = script
        world.files = QuickFiles(crash, rng.choice(["before", "halfway", "after"]))
        pace = Pace(rows=rng.choice([1, 3, 8]), seconds=60)
        try:
            run(study, out, RunOptions(resume=True, quiet=True, pace=pace))
        except DriverDiedError:
            world.files.dead = True
        except Crash:
            pass
        finally:
            world.files.release()
    return script


def check(study: Any, out: Path, whole: dict[str, dict[str, Any]], cursed: tuple[str, str]) -> None:
    found = rows_of(out)
    assert len(found) == len({row["trial_key"] for row in found}) == TRIALS
    assert sorted(row["number"] for row in found) == list(range(TRIALS))
    for row in found:
        if row["trial_key"] == cursed[0]:
            assert row["status"] == {"died": "failed", "hangs": "timeout"}[cursed[1]]
        else:
            assert {name: bits(value) for name, value in row.items()} == whole[row["trial_key"]]
    assert not list(out.rglob("*.tmp"))


def bits(value: Any) -> Any:
    return value.hex() if isinstance(value, float) else value


@pytest.mark.parametrize(
    "schedules", [25, pytest.param(2000, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_no_schedule_loses_doubles_or_changes_a_row(tmp_path, schedules):
    study = loaded(tmp_path, **CHANGES)
    run_here(study, tmp_path / "whole")
    whole = {row["trial_key"]: {name: bits(value) for name, value in row.items()}
             for row in rows_of(tmp_path / "whole", PROVENANCE)}  # fmt: skip
    rows: dict[str, Any] = {}
    seen: set[str] = set()
    with pytest.MonkeyPatch.context() as patch:
        world = World(patch)
        for seed in range(schedules):
            out = tmp_path / f"schedule-{seed}"
            script = play(world, study, out, seed, rows)
            seen |= set(script.seen)
            try:
                check(study, out, whole, script.cursed)
            except AssertionError as error:
                raise AssertionError(f"seed {seed}: {error}") from error
    assert seen >= {"ok", "partial", "unheard", "died", "node died", "memory", "zombie",
                    "node lost"}  # fmt: skip
