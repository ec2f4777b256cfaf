"""What one query does in an index, counted: independent of the device that does it.

Inverted lists: compare the query with centroids (all, or those a graph leads to), then go through
the `n_probe` nearest lists, code by code, and compare the best vectors again exactly. The bytes of
codes are multiplied by `n_probe`, as the arithmetic is. Popular lists are longer: `IMBALANCE`.

Graph (Malkov and Yashunin, arXiv 1603.09320, section 4.2): a greedy descent through ln(N)/ln(M)
layers, each step comparing a vector's M neighbours, then `ef_search` expansions in the lowest
layer. There a vector has 2 M neighbours, of which half are taken to be new.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

from hermes.catalog.indexes import Index

__all__ = ["IMBALANCE", "QueryCounts", "count_query"]

IMBALANCE = 1.2
"""Codes scanned over vectors per list times lists scanned: 1.12 to 1.28 in faiss's counters on four
sets of 1e9 vectors (big-ann-benchmarks, t1.csv: distcomps)."""
_FLOAT_BYTES = 4
_LINK_BYTES = 4


@dataclass(frozen=True, slots=True)
class QueryCounts:
    """The work of one query; bytes are those that miss every cache."""

    centroids: float = 0.0
    """Centroids compared one after another; read once by all queries of a batch."""
    probes: float = 0.0
    """Lists scanned."""
    codes: float = 0.0
    """Codes, or whole vectors, scanned in them."""
    lookups: float = 0.0
    """Values looked up in tables for the codes."""
    table_entries: float = 0.0
    """Values of the tables, of all lists scanned."""
    code_bytes: float = 0.0
    """Of codes or vectors scanned; every query reads its own."""
    vectors: float = 0.0
    """Whole vectors compared one after another in the order they lie."""
    graph_vectors: float = 0.0
    """Vectors compared along a graph, each somewhere else."""
    graph_steps: float = 0.0
    """Steps along a graph that wait for the one before."""
    graph_bytes: float = 0.0
    """Of those vectors and the links to them."""
    reranked: float = 0.0
    """Vectors compared again."""
    reranked_bytes: float = 0.0
    """Of these, where they lie in memory."""


def count_query(index: Index) -> QueryCounts:
    """Return what one query does in *index*."""
    if index.kind == "flat":
        return QueryCounts(vectors=index.vectors)
    if index.kind == "hnsw":
        return _graph(index.vectors, index.m, index.ef_search, index.vector_bytes, index.segments)
    codes = index.n_probe * index.vectors / index.n_centroids * IMBALANCE
    codes = min(codes, float(index.vectors))
    quantized = index.kind == "ivfpq"
    coarse = QueryCounts(centroids=index.n_centroids)
    if index.coarse == "hnsw":
        kept = max(index.coarse_ef_search, index.n_probe)
        coarse = _graph(index.n_centroids, index.coarse_m, kept, _FLOAT_BYTES * index.dimension, 1)
    in_memory = index.rerank_from == "memory"
    return QueryCounts(
        centroids=coarse.centroids,
        probes=index.n_probe,
        codes=codes,
        lookups=codes * index.sub_quantizers,
        table_entries=index.n_probe * index.sub_quantizers * 2**index.bits if quantized else 0,
        code_bytes=codes * index.code_bytes,
        vectors=0.0 if quantized else codes,
        graph_vectors=coarse.graph_vectors,
        graph_steps=coarse.graph_steps,
        graph_bytes=coarse.graph_bytes,
        reranked=index.rerank,
        reranked_bytes=index.rerank * index.vector_bytes if in_memory else 0.0,
    )


def _graph(vectors: int, m: int, kept: int, vector_bytes: int, segments: int) -> QueryCounts:
    """Return the search of *segments* graphs that hold *vectors* together."""
    each = max(2.0, vectors / segments)
    steps = log(each) / log(max(2, m)) + min(kept, each)
    compared = min(each, m * steps)
    return QueryCounts(
        graph_vectors=segments * compared,
        graph_steps=segments * steps,
        graph_bytes=segments * (compared * vector_bytes + steps * 2 * m * _LINK_BYTES),
    )
