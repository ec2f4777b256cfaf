"""`python -m tests.conformance [RECORDING ...]`: where Hermes and the recordings agree."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.conformance.compare import difference
from tests.conformance.recording import FOLDER, Recording


def main(names: list[str]) -> None:
    paths = [FOLDER / f"{name}.json.gz" for name in names] or sorted(FOLDER.glob("*.json.gz"))
    with TemporaryDirectory() as folder:
        for path in paths:
            recording = Recording.read(path)
            verdict = difference(recording, Path(folder)) or "exact"
            sys.stdout.write(f"{recording.case.name:32} {verdict}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
