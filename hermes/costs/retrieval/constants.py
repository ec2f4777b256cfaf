"""The fitted constants of search, each with where it comes from; see `docs/retrieval.md`."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources

__all__ = ["AcceleratorConstants", "ProcessorConstants", "find_constants"]


@dataclass(frozen=True, slots=True)
class ProcessorConstants:
    """Of one core of a server, and of the memory that all share."""

    query_us: float
    """Of a query, around its search."""
    probe_us: float
    """Of a list."""
    residual_table_us: float
    """Of a list whose tables of 4-bit codes are made anew."""
    lookup_ns_8: float
    """Of a value looked up for an 8-bit code."""
    lookup_ns_4: float
    """Of a 4-bit code, in registers."""
    distance_efficiency: float
    """Share of the fp32 peak reached in comparing one query with vectors that lie in order."""
    product_efficiency: float
    """The same for many queries at once: a product of matrices."""
    pair_ns: float
    """Of one distance of such a product, to select the nearest."""
    graph_vector_ns: float
    """Of one vector on a graph, wherever it lies."""
    graph_gb_per_s: float
    """What a core reads of such vectors above that."""
    decode_ns: float
    """Of one dimension of an int8 vector on a graph, made a float to be compared."""
    memory_efficiency: float
    """Share of the memory bandwidth that reads in order reach."""
    random_efficiency: float
    """Share that reads of single vectors reach."""


@dataclass(frozen=True, slots=True)
class AcceleratorConstants:
    """Of a device that works on all queries of a batch at once."""

    batch_us: float
    """Of a batch: launches, and copies of queries and results."""
    query_us: float
    """Of a query of a batch, above that."""
    distance_efficiency: float
    """Share of the fp32 peak reached in comparing queries with centroids or vectors."""
    lookup_flops: float
    """Arithmetic at peak that one lookup costs."""
    pair_bytes: float
    """Traffic of one distance to a centroid: written, and read to select the nearest."""
    table_bytes: float
    """Traffic of one value of a list's tables."""
    code_result_bytes: float
    """Traffic of one code's distance, to select the nearest."""
    memory_efficiency: float
    """Share of the memory bandwidth that reads reach."""
    step_us: float
    """Of one step along a graph: two reads that wait for one another."""


def find_constants(
    kind: str,
) -> tuple[ProcessorConstants | None, AcceleratorConstants | None]:
    """Return the constants of a kind of device: the first of processors, the second of others."""
    table = _packaged()
    if kind == "cpu":
        return ProcessorConstants(**_of(ProcessorConstants, table, "cpu")), None
    return None, AcceleratorConstants(**_of(AcceleratorConstants, table, "accelerator"))


def _of(
    kind: type[ProcessorConstants] | type[AcceleratorConstants],
    table: Mapping[tuple[str, str], float],
    where: str,
) -> dict[str, float]:
    return {field.name: table[where, field.name] for field in fields(kind)}


@cache
def _packaged() -> dict[tuple[str, str], float]:
    path = resources.files("hermes.costs").joinpath("data", "search.csv")
    rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    return {(row["device"], row["constant"]): float(row["value"]) for row in rows}
