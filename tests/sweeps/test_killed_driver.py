"""A driver that is killed at any moment loses nothing that was written and repeats none of it."""

from __future__ import annotations

import random

import pytest

from hermes.results import read_trials
from tests.sweeps.drivers import parts, start, wait_until
from tests.sweeps.small_study import SPACE_SIZE, digest, loaded, rows_of, run_here, written


@pytest.mark.parametrize(
    "kills", [5, pytest.param(50, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_kill_9_loses_nothing_and_doubles_nothing(tmp_path, kills):
    seeds = list(range(max(1, kills // 6)))
    changes = {"space": {"clients.chat.device": ["h100-sxm", "l40s"],
                         "clients.chat.max_num_seqs": [1, 2, 4, 8],
                         "clients.chat.replicas": [1, 2, 3], "seed": seeds}}  # fmt: skip
    study, out = written(tmp_path, **changes), tmp_path / "out"
    rng = random.Random(kills)
    acknowledged: dict[str, str] = {}
    for _ in range(kills):
        before = parts(out)
        driver = start(study, out)
        commits = rng.randint(1, 4)
        alive = wait_until(lambda low=before + commits: parts(out) >= low, driver)
        driver.kill()
        driver.communicate()
        rows = {row["trial_key"]: repr(row) for row in rows_of(out)}
        for key, row in acknowledged.items():
            assert rows[key] == row, "a row that was there is lost or changed"
        acknowledged = rows
        if not alive:
            break
    assert len(acknowledged) >= min(kills, SPACE_SIZE * len(seeds))

    first_seen = read_trials(out).set_index("trial_key")["started_at"].to_dict()
    run_here(loaded(tmp_path, **changes), out, resume=True)
    run_here(loaded(tmp_path, **changes), tmp_path / "whole")
    assert digest(out) == digest(tmp_path / "whole")
    after = read_trials(out).set_index("trial_key")["started_at"].to_dict()
    assert all(after[key] == when for key, when in first_seen.items()), "a trial ran twice"
    assert not list(out.rglob("*.tmp"))
