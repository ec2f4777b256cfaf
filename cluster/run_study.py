"""Run a study on the Ray cluster this script was submitted to: `run_study.py STUDY`."""

from __future__ import annotations

import sys

from hermes.cli import main

if __name__ == "__main__":
    main(["sweep", *sys.argv[1:], "--address", "auto"])
