"""`python -m tests.conformance [NAME ...]`: where Hermes and the recordings agree."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import hermes.sim.batching.vllm  # noqa: F401  # registers itself
from tests.conformance.compare import difference
from tests.conformance.recording import FOLDER, Recording


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("name", nargs="*", help="names of recordings; default: all")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the recordings are")
    parser.add_argument("--batching", default="chunked", help="chunked, or vllm where installed")
    options = parser.parse_args()
    paths = [options.folder / f"{name}.json.gz" for name in options.name]
    with TemporaryDirectory() as scratch:
        for path in paths or sorted(options.folder.glob("*.json.gz")):
            recording = Recording.read(path)
            verdict = difference(recording, Path(scratch), options.batching) or "exact"
            sys.stdout.write(f"{recording.case.name:32} {verdict}\n")


if __name__ == "__main__":
    main()
