"""What short runs first save of a study: the chat study for its cost alone, under each pruner.

    python benchmarks/pruners.py

All in this process, without Ray. docs/studies.md has the table.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from hermes.results import read_trials
from hermes.sweeps import load_study, run_study

SWEEPS = Path(__file__).resolve().parents[1] / "sweeps"
PRUNERS = (None, "successive_halving", "hyperband", "median")
COST = "cost_per_million_output_tokens"


def measure(folder: Path, pruner: str | None, trials: int | None) -> tuple[Any, float]:
    """Run the study under a pruner; return its rows and the CPU seconds it took."""
    written = yaml.safe_load((SWEEPS / "chat-on-which-gpu.yaml").read_text())
    written |= {"objectives": {COST: "minimize"}} | ({"pruner": pruner} if pruner else {})
    shutil.copytree(SWEEPS / "scenarios", folder / "scenarios", dirs_exist_ok=True)
    path = folder / f"{pruner}.yaml"
    path.write_text(yaml.safe_dump(written, sort_keys=False))
    begin = time.process_time()
    out = folder / f"{pruner}"
    run_study(load_study(path), out, workers=0, quiet=True, trials=trials)
    return read_trials(out), time.process_time() - begin


def main() -> None:
    """Print a row for each pruner."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, help="only so many")
    options = parser.parse_args()
    print("| pruner | whole runs | requests simulated | CPU s | best three |")
    with tempfile.TemporaryDirectory() as scratch:
        for pruner in PRUNERS:
            rows, seconds = measure(Path(scratch), pruner, options.trials)
            whole = rows[rows["status"] == "completed"]
            share = 1.0 if pruner is None else float(rows["pruner_simulated"].mean())
            best = whole[whole["feasible"]].nsmallest(3, COST)["number"].tolist()
            print(f"| {pruner} | {len(whole)} | {share:.0%} | {seconds:.1f} | {best} |", flush=True)


if __name__ == "__main__":
    main()
