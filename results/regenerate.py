"""Run every published study again and put its report beside this file: `make results`."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from hermes.results import write_report
from hermes.sweeps import load_study, run_study

HERE = Path(__file__).resolve().parent
STUDIES = ("chat-on-which-gpu",)
PUBLISHED = ("md", "png")
"""The interactive page carries 5 MB of Plotly, so it is made on demand: `hermes report`."""


def main() -> int:
    """Regenerate the reports; return 1 if a trial failed."""
    failed = 0
    for name in STUDIES:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / name
            outcome = run_study(load_study(name, ()), folder)
            failed += outcome.failed
            paths = write_report(folder)
            target = HERE / name
            target.mkdir(exist_ok=True)
            for kind in PUBLISHED:
                shutil.copy(paths[kind], target / paths[kind].name)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
