"""Every Python that Hermes supports finds the same results, bit by bit.

`HERMES_PYTHONS` names other interpreters, with `:` between them, in whose environments what
`hermes simulate` needs is installed (simpy, numpy, pydantic, pyyaml, typer, rich).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import hermes

ROOT = Path(hermes.__file__).parents[1]
SCENARIOS = ["chat", "every-stage", "two-models"]
PYTHONS = [path for path in os.environ.get("HERMES_PYTHONS", "").split(":") if path]


def simulated(python: str, scenario: str) -> str:
    path = ROOT / "sweeps" / "scenarios" / f"{scenario}.yaml"
    small = "workload.limit={requests: 300}"
    done = subprocess.run(
        [python, "-m", "hermes.cli", "simulate", str(path), "--json", "--set", small],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not PYTHONS, reason="HERMES_PYTHONS names no other interpreter")
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_other_pythons_find_the_same(scenario: str) -> None:
    expected = simulated(sys.executable, scenario)
    for python in PYTHONS:
        assert simulated(python, scenario) == expected, python
