"""Retrieval indexes: what they hold, how a query searches them, and how large they are.

Presets are in the catalog; a user's own is a block with the same field names. Sizes are what lies
in the memory of the device that searches.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import ceil
from typing import TYPE_CHECKING

from hermes.catalog.dtypes import DTYPE_BYTES
from hermes.catalog.tables import aliases, read_table
from hermes.errors import UnknownNameError

if TYPE_CHECKING:  # pydantic is a third of a start
    from hermes.scenario.index import IndexSpec

__all__ = ["Index", "find_index", "index_names"]

_ID_BYTES = 8  # faiss keeps 64-bit ids beside the codes
_LINK_BYTES = 4  # a neighbour in a graph (faiss, hnswlib)
_SLACK = 1.1
"""Of lists grown and padded: faiss's index of 1e9 vectors in 2^20 lists is 1.107 times its parts
(big-ann-benchmarks, t1.csv)."""
_COARSE_M = 32  # neighbours in the graph of centroids: faiss's IVF..._HNSW32


@dataclass(frozen=True, slots=True)
class Index:
    """One index; fields that its kind does not have are 0."""

    name: str
    kind: str
    """ivfpq, ivfflat, hnsw or flat."""
    dimension: int
    vectors: int
    vector_dtype: str
    """How whole vectors are stored: fp32, fp16 or int8."""
    n_centroids: int
    """Inverted lists."""
    n_probe: int
    """Lists that a query scans."""
    coarse: str
    """How the lists to scan are found: flat or hnsw; empty without lists."""
    coarse_ef_search: int
    sub_quantizers: int
    bits: int
    """Of one code."""
    residual: bool
    """Whether codes are of a vector's difference to its centroid."""
    rerank: int
    """Vectors compared again exactly at the end."""
    rerank_from: str
    """Where those lie: memory or storage; empty where none are."""
    storage_latency_us: float
    """Of one read from storage."""
    m: int
    """Neighbours of a vector in the graph, twice as many in its lowest layer."""
    ef_search: int
    segments: int
    """Graphs, each searched by every query."""
    request_us: float
    """Time of one core that a server spends around a query."""
    threads_per_query: int
    """Cores of a processor that work on one query; 0 for all."""
    source: str

    @property
    def vector_bytes(self) -> int:
        """Bytes of one whole vector."""
        return ceil(self.dimension * DTYPE_BYTES[self.vector_dtype])

    @property
    def code_bytes(self) -> int:
        """Bytes of one vector in an inverted list; whole for ivfflat."""
        if self.kind == "ivfpq":
            return ceil(self.sub_quantizers * self.bits / 8)
        return self.vector_bytes

    @property
    def coarse_m(self) -> int:
        """Neighbours of a centroid in the graph of them; 0 where all are compared."""
        return _COARSE_M if self.coarse == "hnsw" else 0

    @property
    def centroid_bytes(self) -> int:
        """Bytes of all centroids, and of the graph over them."""
        links = 2 * self.coarse_m * _LINK_BYTES
        return self.n_centroids * (4 * self.dimension + links)

    @property
    def size_bytes(self) -> int:
        """Bytes of memory that the index occupies where it is searched."""
        if self.kind == "flat":
            return self.vectors * self.vector_bytes
        if self.kind == "hnsw":  # the layers above the lowest are a geometric series
            above = self.vectors * self.m * _LINK_BYTES // max(1, self.m - 1)
            lowest = self.vectors * (self.vector_bytes + 2 * self.m * _LINK_BYTES)
            return lowest + above
        lists = self.vectors * (self.code_bytes + _ID_BYTES)
        codebook = 4 * self.dimension * 2**self.bits if self.kind == "ivfpq" else 0
        whole = self.vectors * self.vector_bytes if self.rerank_from == "memory" else 0
        return round(_SLACK * (self.centroid_bytes + codebook + lists)) + whole


def index_names() -> tuple[str, ...]:
    """Return the catalog's indexes, in its order."""
    return tuple(_catalog())


def find_index(index: str | IndexSpec, name: str = "") -> Index:
    """Return an index of the catalog, or the one that a user's block describes.

    Args:
        index: A name of the catalog in any case, an alias such as `ivfpq-1b`, or a block.
        name: Of the block, for reports; default: its kind and size.

    Raises:
        UnknownNameError: No index is called that.
    """
    if not isinstance(index, str):
        return _from_spec(index, name)
    found = _aliases().get(index.lower())
    if found is None:
        raise UnknownNameError.among("index", index, index_names(), "index")
    return _catalog()[found]


@cache
def _catalog() -> dict[str, Index]:
    from hermes.scenario.index import IndexSpec

    rows = read_table("indexes.csv")
    return {row["name"]: _from_row(row, IndexSpec) for row in rows}


@cache
def _aliases() -> dict[str, str]:
    rows = read_table("indexes.csv")
    return {alias: row["name"] for row in rows for alias in (row["name"], *aliases(row))}


def _from_row(row: dict[str, str], spec: type[IndexSpec]) -> Index:
    """Return the index of one row, held to the same rules as a user's block."""
    values: dict[str, str | int] = {}
    for field, cell in row.items():
        if cell and field in spec.model_fields:
            values[field] = int(cell) if cell.isdigit() else cell
    return _from_spec(spec.model_validate(values), row["name"], row["source"])


def _from_spec(spec: IndexSpec, name: str = "", source: str = "the scenario") -> Index:
    lists, graph = spec.kind in {"ivfpq", "ivfflat"}, spec.kind == "hnsw"
    codes = spec.kind == "ivfpq"
    return Index(
        name=name or f"{spec.kind} of {spec.vectors} vectors",
        kind=spec.kind,
        dimension=spec.dimension,
        vectors=spec.vectors,
        vector_dtype=spec.vector_dtype,
        n_centroids=spec.n_centroids or 0,
        n_probe=spec.n_probe or 0,
        coarse=spec.coarse if lists else "",
        coarse_ef_search=spec.coarse_ef_search if lists and spec.coarse == "hnsw" else 0,
        sub_quantizers=spec.sub_quantizers or 0,
        bits=spec.bits if codes else 0,
        residual=spec.residual if codes else False,
        rerank=spec.rerank,
        rerank_from=spec.rerank_from if spec.rerank else "",
        storage_latency_us=spec.storage_latency_us,
        m=spec.m if graph else 0,
        ef_search=spec.ef_search if graph else 0,
        segments=spec.segments if graph else 1,
        request_us=spec.request_us,
        threads_per_query=spec.threads_per_query or (1 if graph else 0),
        source=source,
    )
