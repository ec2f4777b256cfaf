"""The table of what agrees: `agreement.csv`, one row a recording."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).with_name("agreement.csv")
EXACT = "exact"
DIFFERS = "differs"  # Hermes has the feature, and does something else
NOT_YET = "not yet"  # Hermes does not have the feature


@dataclass(frozen=True)
class Agreement:
    recording: str
    feature: str
    verdict: str
    why: str = ""


def read_agreement() -> list[Agreement]:
    with TABLE.open(newline="") as file:
        return [Agreement(**row) for row in csv.DictReader(file)]
