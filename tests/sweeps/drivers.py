"""Drivers of the small study as processes of their own, to be killed and interrupted."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parents[2]
_CODE = """
import sys
from hermes.sweeps import Pace, load_study
from hermes.sweeps.run import RunOptions, run
study, out, rows = sys.argv[1:]
outcome = run(
    load_study(study), out,
    RunOptions(workers=0, resume=True, quiet=True, pace=Pace(rows=int(rows), seconds=60)),
)
sys.exit(outcome.exit_code or 0)
"""
PATIENCE_S = 60.0


def start(study: Path, out: Path | str, rows_a_part: int = 1) -> subprocess.Popen[bytes]:
    """Start a driver that goes on with whatever *out* holds."""
    return subprocess.Popen(
        [sys.executable, "-c", _CODE, str(study), str(out), str(rows_a_part)],
        cwd=_REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(_REPOSITORY)},
        stderr=subprocess.PIPE,
    )


def parts(out: Path) -> int:
    return len(list((out / "trials").glob("part-*.parquet")))


def wait_until(condition: Callable[[], bool], driver: subprocess.Popen[bytes]) -> bool:
    """Wait for a condition; false when the driver ended before it came true."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if driver.poll() is not None:
            return False
        assert time.monotonic() < end, "the driver does nothing"
        time.sleep(0.001)
    return True
