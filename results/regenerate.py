"""Run every published study again and put its report beside this file: `make results`."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from every_stage import write_every_stage
from remote_kv import write_remote_kv

from hermes.results import write_report
from hermes.sweeps import load_study, run_study

HERE = Path(__file__).resolve().parent
PUBLISHED = ("md", "png")
"""The interactive page carries 5 MB of Plotly, so it is made on demand: `hermes report`."""


def _write(folder: Path, target: Path) -> None:
    """Publish the report that any study has."""
    paths = write_report(folder)
    target.mkdir(exist_ok=True)
    for kind in PUBLISHED:
        shutil.copy(paths[kind], target / paths[kind].name)


STUDIES: dict[str, Callable[[Path, Path], None]] = {
    "chat-on-which-gpu": _write,
    "remote-kv": write_remote_kv,
    "route-or-cascade": _write,
}
"""What publishes each study: its folder, and where the report goes."""
SCENARIOS: dict[str, Callable[[Path], None]] = {"every-stage": write_every_stage}
"""What simulates and publishes a single scenario: where the report goes."""


def main(names: list[str]) -> int:
    """Regenerate the reports, all or those named; return 1 if a trial failed."""
    failed = 0
    for name in names or (*STUDIES, *SCENARIOS):
        if name in SCENARIOS:
            SCENARIOS[name](HERE / name)
            continue
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / name
            outcome = run_study(load_study(name, ()), folder)
            failed += outcome.failed
            STUDIES[name](folder, HERE / name)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
