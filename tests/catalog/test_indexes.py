"""Indexes are found by name or alias, are as large as their parts, and carry their sources."""

from __future__ import annotations

import pytest

from hermes.catalog.indexes import find_index, index_names
from hermes.errors import UnknownNameError
from hermes.scenario.index import IndexSpec


@pytest.mark.parametrize("name", index_names())
def test_every_index_is_found_by_its_name_and_says_where_it_comes_from(name):
    index = find_index(name.upper())
    assert index.name == name
    assert len(index.source) > 20
    assert index.size_bytes > 0


@pytest.mark.parametrize(
    ("family", "lists", "probes", "codes", "per_list", "reranked"),
    [
        ("32m", 65536, 50, 32, 5000, 20),
        ("1b", 262144, 100, 32, 5000, 20),
        ("10b", 2097152, 200, 32, 5000, 20),
        ("100b", 4194304, 400, 32, 5000, 20),
    ],
)
def test_a_family_is_named_after_the_papers_and_means_its_largest_preset(
    family, lists, probes, codes, per_list, reranked
):
    index = find_index(f"ivfpq-{family}")
    assert index.name == f"ivfpq-{family}-large"
    assert (index.n_centroids, index.n_probe, index.sub_quantizers) == (lists, probes, codes)
    assert index.vectors == lists * per_list
    assert index.rerank == reranked


def test_a_misspelt_index_is_answered_with_the_nearest_one():
    with pytest.raises(UnknownNameError, match="did you mean 'ivfpq-1b-large'"):
        find_index("ivfpq-1b-lage")


def test_the_size_of_a_billion_vectors_is_what_faiss_wrote():
    """big-ann-benchmarks, t1.csv: an index of 44,112,772 KB for OPQ64_128,IVF1048576,PQ64x4."""
    assert find_index("faiss-bigann-1b").size_bytes == pytest.approx(44_112_772 * 1024, rel=0.01)


def test_a_graph_holds_its_vectors_and_twice_m_links_in_its_lowest_layer():
    index = find_index(IndexSpec(kind="hnsw", dimension=128, vectors=10**6, m=32))
    lowest = 10**6 * (512 + 2 * 32 * 4)
    assert lowest < index.size_bytes < 1.01 * lowest


def test_whole_vectors_count_only_where_they_lie_in_memory():
    block = {"kind": "ivfpq", "dimension": 768, "vectors": 10**6, "n_centroids": 1000}
    block |= {"n_probe": 10, "sub_quantizers": 32, "rerank": 10}
    near = find_index(IndexSpec(**block))
    far = find_index(IndexSpec(**block, rerank_from="storage"))
    assert near.size_bytes - far.size_bytes == 10**6 * 768 * 4
    half = find_index(IndexSpec(**block, vector_dtype="fp16"))
    assert near.size_bytes - half.size_bytes == 10**6 * 768 * 2


def test_a_users_own_block_has_the_same_fields():
    spec = IndexSpec(kind="ivfflat", dimension=64, vectors=1000, n_centroids=10, n_probe=2)
    index = find_index(spec, "mine")
    assert (index.name, index.kind, index.code_bytes) == ("mine", "ivfflat", 256)
    assert index.source == "the scenario"
    assert find_index(spec).name == "ivfflat of 1000 vectors"
