"""Hours of a study under faults at random: workers killed, drivers killed, no room for files.

`HERMES_SOAK_S` says how long, 3600 before a release; by default two minutes. Nothing is lost,
doubled or changed, and a driver does not grow: no memory, no open files, no processes.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hermes.results import read_trials
from tests.cluster.heads import ROOT, processes_of, stop_all_of
from tests.sweeps.drivers import parts, wait_until
from tests.sweeps.small_study import STUDY, loaded, rows_of, run_here, written

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SECONDS = float(os.environ.get("HERMES_SOAK_S", "120"))
CODE = """
import sys
from hermes.sweeps import Pace, load_study
from hermes.sweeps.run import RunOptions, run
study, out = sys.argv[1:]
run(load_study(study), out, RunOptions(workers=2, resume=True, quiet=True, pace=Pace(seconds=0.5)))
"""
CHANGES = {"sampler": "random", "trials": 10_000_000, "stop_hopeless": True,
           "space": STUDY["space"] | {"seed": {"int": [0, 10**12]}}}  # fmt: skip
CHECKED = 300
MOST_GROWTH_BYTES = 2**20  # a minute
NOISE_BYTES = 24 * 2**20


@dataclass
class Life:
    """What one driver was seen to hold, from when it had settled."""

    memory: list[tuple[float, int]] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    processes: list[int] = field(default_factory=list)

    def look(self, pid: int, scratch: str) -> None:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        self.memory.append((time.monotonic(), pages * os.sysconf("SC_PAGESIZE")))
        self.files.append(len(os.listdir(f"/proc/{pid}/fd")))
        self.processes.append(len(processes_of(scratch)))

    def check(self) -> None:
        settled = self.memory[len(self.memory) // 4 :]
        if len(settled) < 2:
            return
        minutes = (settled[-1][0] - settled[0][0]) / 60
        grown = settled[-1][1] - settled[0][1]
        assert grown <= NOISE_BYTES + minutes * MOST_GROWTH_BYTES, (grown, minutes)
        quarter = len(self.files) // 4
        assert max(self.files[quarter:]) <= max(self.files[: quarter + 1]) + 20
        assert max(self.processes[quarter:]) <= max(self.processes[: quarter + 1]) + 6


def start(study: Path, out: Path, scratch: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", CODE, str(study), str(out)],
        cwd=out.parent, env={**os.environ, "PYTHONPATH": ROOT, "RAY_TMPDIR": scratch},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def kill_a_worker(scratch: str, rng: random.Random) -> bool:
    ours = ("ray::run_pack", "ray::IDLE")
    found = [pid for pid, said in processes_of(scratch).items() if said.startswith(ours)]
    if not found:
        return False
    try:
        os.kill(rng.choice(found), signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def test_faults_for_a_long_time_lose_double_and_change_nothing(tmp_path):
    study, out = written(tmp_path, **CHANGES, constraints={"ttft_ms.p99": "<= 400"}), tmp_path / "o"
    rng, end = random.Random(7), time.monotonic() + SECONDS
    seen: dict[str, str] = {}
    workers = drivers = full = 0
    scratch = tempfile.mkdtemp(prefix="hn-")
    try:
        while time.monotonic() < end:
            before = parts(out)
            driver, life = start(study, out, scratch), Life()
            assert wait_until(lambda low=before + 2: parts(out) > low, driver), "nothing runs"
            until = time.monotonic() + rng.uniform(0.3, 0.5) * max(SECONDS, 60)
            while time.monotonic() < min(until, end) and driver.poll() is None:
                time.sleep(rng.uniform(0.5, 2.0))
                if driver.poll() is None:
                    life.look(driver.pid, scratch)
                    workers += kill_a_worker(scratch, rng)
            if driver.poll() is None and rng.random() < 0.4:
                resource.prlimit(driver.pid, resource.RLIMIT_FSIZE, (0, 0))
                driver.wait(60)
                assert driver.returncode == 1
                full += 1
            else:
                assert driver.poll() is None, "a driver ended by itself"
                driver.kill()
                driver.wait()
                drivers += 1
            life.check()
            stop_all_of(scratch)
            rows = {row["trial_key"]: repr(row) for row in rows_of(out)}
            assert seen.items() <= rows.items(), "a row that was there is lost or changed"
            seen = rows
    finally:
        stop_all_of(scratch)
    assert workers > 0
    assert drivers + full > 1
    check(tmp_path, out, seen)


def check(tmp_path: Path, out: Path, seen: dict[str, str]) -> None:
    frame = read_trials(out)
    assert len(frame) == len(seen)
    assert frame["trial_key"].is_unique
    assert frame["number"].is_unique
    given_up = frame[frame["status"] == "failed"]
    assert set(given_up["error_type"]) <= {"WorkerCrashedError"}
    assert (given_up["attempt"] == 3).all()
    whole = {"constraints": {"ttft_ms.p99": "<= 400"}}
    run_here(loaded(tmp_path, **CHANGES, **whole), tmp_path / "whole", trials=CHECKED)
    lost = set(given_up["trial_key"])
    for row in rows_of(tmp_path / "whole"):
        assert row["trial_key"] in seen, "a trial was left out"
        assert row["trial_key"] in lost or seen[row["trial_key"]] == repr(row)
