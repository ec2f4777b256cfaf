"""A driver does not grow with its study: 10,000 trials, each answered as soon as it is asked."""

from __future__ import annotations

import contextlib
import gc
import os
from pathlib import Path

import pytest

from hermes.metrics import METRICS
from hermes.results import read_trials
from hermes.sweeps import run as run_module
from tests.sweeps.small_study import loaded, run_here

TRIALS = 10_000


class Answers:
    """Stands for workers: every trial is done at once; notes how much memory is held."""

    width = 2

    def __init__(self) -> None:
        self.queue: list = []
        self.done = 0
        self.held: dict[int, int] = {}

    def wanted(self):
        return 64 - len(self.queue)

    def submit(self, trials):
        self.queue += trials

    def wait(self, timeout_s):
        rows = [self.row(trial) for trial in self.queue]
        self.queue = []
        for mark in (1_000, TRIALS):
            if self.done < mark <= self.done + len(rows):
                gc.collect()
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                self.held[mark] = pages * os.sysconf("SC_PAGESIZE")
        self.done += len(rows)
        return rows

    def row(self, trial):
        values = dict.fromkeys(METRICS, 1.0 + trial.number)
        return values | {
            "trial_key": trial.key, "number": trial.number, "seed": trial.seed,
            "status": "completed", "error_type": None, "error": None, "cost_model": "none",
            "hermes_version": "0", "host": "here", "started_at": "", "attempt": 1,
            "trial_seconds": 0.0,
        }  # fmt: skip


@pytest.mark.slow
def test_ten_thousand_trials_take_no_more_memory_than_a_thousand(tmp_path, monkeypatch):
    answers = Answers()

    @contextlib.contextmanager
    def executor(study, options):
        yield answers

    monkeypatch.setattr(run_module, "_executor", executor)
    study = loaded(tmp_path, space={"seed": {"int": [0, 10**9]}}, sampler="random", trials=TRIALS)
    assert run_here(study, tmp_path / "out").counts == {"completed": TRIALS}
    assert answers.held[TRIALS] - answers.held[1_000] < 20 * 2**20
    assert read_trials(tmp_path / "out")["trial_key"].is_unique
