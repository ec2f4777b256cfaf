"""The wall clock may jump: it is in a row's provenance and nowhere else."""

from __future__ import annotations

import ast
import datetime as real
import itertools
import time
from pathlib import Path

import pytest

import hermes
from hermes.results import read_trials
from tests.sweeps.small_study import SPACE_SIZE, digest, loaded, run_here

PACKAGE = Path(hermes.__file__).parent
PARTS = ("sweeps", "cluster", "results", "evaluation", "sim", "workload", "metrics", "costs")
JUMPS_S = (-3600, 86_400, 0, 3600, -3600, 1, -1, -86_400 * 365)  # DST and leap seconds among them


class JumpingClock(real.datetime):
    """Steps an hour back, a day on, an hour on for summer..., at every look at it."""

    jumps = itertools.cycle(JUMPS_S)
    offset_s = 0

    @classmethod
    def now(cls, tz=None):
        cls.offset_s += next(cls.jumps)
        return real.datetime.now(tz) + real.timedelta(seconds=cls.offset_s)


def test_a_study_under_a_jumping_clock_has_the_same_rows_and_no_timeout(tmp_path, monkeypatch):
    run_here(loaded(tmp_path, sampler="grid"), tmp_path / "calm")
    for module in ("hermes.cluster.trial", "hermes.results.local_place"):
        monkeypatch.setattr(f"{module}.datetime", JumpingClock)
    before = time.time
    monkeypatch.setattr(time, "time", lambda: before() + JumpingClock.offset_s)
    study = loaded(tmp_path, sampler="grid", trial_timeout_s=20.0)
    for trials in (7, None):
        run_here(study, tmp_path / "out", trials=trials, resume=True)
    frame = read_trials(tmp_path / "out")
    assert len(frame) == SPACE_SIZE
    assert (frame["trial_seconds"] >= 0).all()
    assert not frame["started_at"].is_monotonic_increasing, "the clock did not jump"
    assert digest(tmp_path / "out") == digest(tmp_path / "calm")


@pytest.mark.parametrize("part", PARTS)
def test_durations_and_deadlines_are_by_a_clock_that_does_not_jump(part):
    """Only who started what and when is by the wall clock."""
    allowed = {"trial.py", "local_place.py"}
    for path in (PACKAGE / part).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Attribute):
                continue
            owner = getattr(node.value, "id", "")
            if (owner, node.attr) in {("time", "time"), ("time", "time_ns"), ("date", "today")}:
                pytest.fail(f"{path}:{node.lineno} reads the wall clock")
            if (owner, node.attr) in {("datetime", "now"), ("datetime", "utcnow")}:
                assert path.name in allowed, f"{path}:{node.lineno} reads the wall clock"
