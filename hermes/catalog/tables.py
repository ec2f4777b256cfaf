"""The catalog's tables: comma-separated files inside the package, one row a fact with a source."""

from __future__ import annotations

import csv
from functools import cache
from importlib import resources

__all__ = ["aliases", "optional_float", "read_table"]


@cache
def read_table(name: str) -> tuple[dict[str, str], ...]:
    """Return the rows of the packaged table *name*, such as `devices.csv`."""
    path = resources.files("hermes.catalog").joinpath("data", name)
    return tuple(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def aliases(row: dict[str, str]) -> list[str]:
    """Return the further names a row answers to."""
    return row["aliases"].split()


def optional_float(cell: str) -> float | None:
    """Return a cell as a number, or None where it is empty: not known."""
    return float(cell) if cell else None
