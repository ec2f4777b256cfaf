"""Drivers that come and go on a Ray head that stays: killed, of another version, orphaning workers.

What a dead driver's workers still do must not reach the study: only a driver writes, and what it
had not written, the next one runs again.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

import hermes
from hermes.results import read_trials
from tests.cluster.heads import ROOT, processes_of, standing_head, stop_all_of
from tests.sweeps.drivers import parts, wait_until
from tests.sweeps.small_study import digest, loaded, run_here, written

pytestmark = [pytest.mark.ray, pytest.mark.slow]

DRIVER = """
import sys
from hermes.sweeps import Pace, load_study
from hermes.sweeps.run import RunOptions, run
study, out, address = sys.argv[1:]
outcome = run(load_study(study), out, RunOptions(
    address=address or None, workers=2, resume=True, quiet=True, pace=Pace(rows=2, seconds=60)))
sys.exit(outcome.exit_code or 0)
"""
CHANGES = {
    "space": {"clients.chat.max_num_seqs": [1, 2, 4, 8], "seed": list(range(60))},
    "set": {"clients.chat.batching": "tests.sweeps.misbehaving:Slow"},
    "sampler": "grid",
}
TRIALS = 240
KILLS = 10


def start(study: Path, out: Path, address: str, **env: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(study), str(out), address],
        cwd=out.parent, env={**os.environ, "PYTHONPATH": ROOT, **env},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_kills_of_drivers_on_a_standing_head_lose_and_double_nothing(tmp_path):
    study, out, rng = written(tmp_path, **CHANGES), tmp_path / "out", random.Random(2)
    with standing_head() as (address, _):
        killed = 0
        for _ in range(KILLS):
            before = parts(out)
            driver = start(study, out, address)
            commits = rng.randint(1, 6)
            alive = wait_until(lambda low=before + commits: parts(out) >= low, driver)
            driver.kill()
            _, said = driver.communicate()
            if not alive:
                assert driver.returncode in {0, -signal.SIGKILL}, said[-2000:]
                break
            killed += 1
            seen = sorted(path.name for path in (out / "trials").iterdir())
            # Its workers live on for a while, and so do the trials in them; they write nothing.
            time.sleep(rng.choice([0.0, 0.0, 2.0]))
            assert sorted(path.name for path in (out / "trials").iterdir()) == seen
        assert killed >= KILLS // 2
        first = read_trials(out).set_index("trial_key")["started_at"].to_dict()
        driver = start(study, out, address)
        _, said = driver.communicate(timeout=300)
        assert driver.returncode == 0, said[-2000:]
    frame = read_trials(out)
    assert len(frame) == TRIALS
    assert frame["trial_key"].is_unique
    after = frame.set_index("trial_key")["started_at"].to_dict()
    assert first.items() <= after.items(), "a trial that was written ran again"
    run_here(loaded(tmp_path, **CHANGES), tmp_path / "whole")
    assert digest(out) == digest(tmp_path / "whole")


def test_a_node_with_another_hermes_is_refused_before_the_first_trial(tmp_path):
    other = tmp_path / "other"
    shutil.copytree(Path(hermes.__file__).parent, other / "hermes",
                    ignore=shutil.ignore_patterns("__pycache__"))  # fmt: skip
    home = other / "hermes" / "__init__.py"
    home.write_text(home.read_text().replace(f'"{hermes.__version__}"', '"9.9.9"'))
    out = tmp_path / "out"
    with standing_head(json.dumps([{"PYTHONPATH": str(other)}])) as (address, _):
        driver = start(written(tmp_path, **CHANGES), out, address)
        _, said = driver.communicate(timeout=200)
    text = said.decode()
    assert driver.returncode != 0
    assert "the Ray cluster's workers run Hermes 9.9.9 on Python" in text
    assert "this driver Hermes" in text
    assert not list((out / "trials").iterdir())


def test_nothing_of_a_killed_driver_s_own_ray_is_left(tmp_path):
    """Processes, shared memory and listening ports; its folder goes with the next driver."""
    scratch, out = tempfile.mkdtemp(prefix="hn-"), tmp_path / "out"
    shared = set(os.listdir("/dev/shm"))
    try:
        driver = start(written(tmp_path, **CHANGES), out, "", RAY_TMPDIR=scratch)
        assert wait_until(lambda: parts(out) >= 2, driver)
        assert any("ray::" in said for said in processes_of(scratch).values())
        driver.kill()
        driver.communicate()
        workers = deadline_of(
            lambda: not [said for said in processes_of(scratch).values() if "ray::" in said]
        )
        gone = deadline_of(lambda: not processes_of(scratch))
        assert workers, processes_of(scratch)
        assert gone, processes_of(scratch)
        assert set(os.listdir("/dev/shm")) <= shared
    finally:
        stop_all_of(scratch)
        shutil.rmtree(scratch, ignore_errors=True)
    run_here(loaded(tmp_path, **CHANGES), out, resume=True)
    assert len(read_trials(out)) == TRIALS


def deadline_of(condition, seconds: float = 65.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True
