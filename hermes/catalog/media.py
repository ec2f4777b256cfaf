"""Media that KV is kept on beside device memory: bandwidth and latency of one of each.

Bandwidths are decimal, measured where the source could be had. Blocks of a few MB and more: smaller
ones meet caches and per-request overheads that a bandwidth and a latency do not tell.
"""

from __future__ import annotations

from dataclasses import dataclass

from hermes.catalog.tables import aliases, read_table
from hermes.errors import UnknownNameError

__all__ = ["Medium", "find_medium", "medium_names"]


@dataclass(frozen=True, slots=True)
class Medium:
    """A store as a source describes it."""

    name: str
    kind: str
    bandwidth_gb_per_s: float
    latency_us: float
    confidence: str
    source: str


def medium_names() -> tuple[str, ...]:
    """Return the catalog's media, in its order."""
    return tuple(row["name"] for row in read_table("media.csv"))


def find_medium(name: str) -> Medium:
    """Return the medium called *name*, in any case or by an alias.

    Raises:
        UnknownNameError: No medium is called that.
    """
    for row in read_table("media.csv"):
        if name.lower() in (row["name"], *aliases(row)):
            return Medium(
                name=row["name"],
                kind=row["kind"],
                bandwidth_gb_per_s=float(row["bandwidth_gb_per_s"]),
                latency_us=float(row["latency_us"]),
                confidence=row["confidence"],
                source=row["source"],
            )
    raise UnknownNameError.among("medium", name, medium_names())
