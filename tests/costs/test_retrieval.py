"""Search costs what its arithmetic and its traffic cost, and never less for more."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.catalog import find_device
from hermes.catalog.indexes import find_index, index_names
from hermes.costs.retrieval import SearchCost, check_index_fits
from hermes.costs.retrieval.constants import AcceleratorConstants, ProcessorConstants
from hermes.costs.retrieval.counts import IMBALANCE, count_query
from hermes.errors import InfeasibleError
from hermes.scenario.device import DeviceSpec
from hermes.scenario.index import IndexSpec

DEVICES = ("xeon-8480p", "epyc-9654", "grace", "a100-sxm-80", "h100-sxm", "tpu-v5p")
# Everything at its datasheet's peak, as the paper has it.
PERFECT_CORE = ProcessorConstants(
    query_us=0,
    probe_us=0,
    residual_table_us=0,
    lookup_ns_8=0,
    lookup_ns_4=0,
    distance_efficiency=1,
    product_efficiency=1,
    pair_ns=0,
    graph_vector_ns=0,
    graph_gb_per_s=1e9,
    decode_ns=0,
    memory_efficiency=1,
    random_efficiency=1,
)
PERFECT_ACCELERATOR = AcceleratorConstants(
    batch_us=0,
    query_us=0,
    distance_efficiency=1,
    lookup_flops=1,
    pair_bytes=0,
    table_bytes=0,
    code_result_bytes=0,
    memory_efficiency=1,
    step_us=0,
)


def ivfpq(**changes):
    block = {"kind": "ivfpq", "dimension": 96, "vectors": 10**8, "n_centroids": 10**4}
    block |= {"n_probe": 100, "sub_quantizers": 32}
    return find_index(IndexSpec(**{**block, **changes}))


# -- the paper's own evaluation (arXiv 2504.09775, largest preset, 768 dimensions, one query) ------


@pytest.mark.parametrize(
    ("kind", "tflops", "gb_per_s", "milliseconds"),
    [
        ("cpu", 6.27, 308, 40),  # Sapphire Rapids
        ("cpu", 11.37, 460.8, 27),  # Genoa
        ("cpu", 14.2, 768, 16),  # Grace
        ("gpu", 312, 1600, 7.5),  # A100, 40 GB
        ("gpu", 989, 3400, 3.5),  # H100
    ],
)
def test_the_papers_devices_take_what_the_paper_says(kind, tflops, gb_per_s, milliseconds):
    """Theirs adds the two sides of our maximum, and counts a gigabyte of vectors as 2**30 bytes."""
    spec = DeviceSpec(
        kind=kind,
        peak_tflops={"fp32": tflops},
        memory_gb=4000,
        memory_bandwidth_gb_per_s=gb_per_s,
        cores=64 if kind == "cpu" else None,
    )
    device = find_device("theirs", {"theirs": spec})
    index = replace(find_index("ivfpq-100b-large"), rerank_from="memory")
    compute, memory, overhead = SearchCost(index, device, PERFECT_CORE, PERFECT_ACCELERATOR).work(1)
    theirs = compute + memory / (gb_per_s * 2**30) + overhead
    assert theirs * 1e3 == pytest.approx(milliseconds, rel=0.035)


@pytest.mark.parametrize(
    ("name", "milliseconds"),
    [("xeon-8480p", 40), ("epyc-9654", 27), ("a100-sxm-40", 7.5), ("h100-sxm", 3.5)],
)
def test_fitted_efficiencies_are_slower_than_the_peak_but_not_by_half(name, milliseconds):
    seconds = SearchCost(find_index("ivfpq-100b"), find_device(name)).seconds(1)
    assert 1 < seconds * 1e3 / milliseconds < 1.5


def test_the_largest_index_fits_a_server_and_no_single_gpu():
    """About 1.2 TB by the paper's 24 bytes beside every code; faiss keeps 8."""
    index = find_index("ivfpq-100b-large")
    assert index.size_bytes == pytest.approx(0.94e12, rel=0.01)
    assert check_index_fits(index, find_device("xeon-8480p")) > 0
    with pytest.raises(InfeasibleError, match=r"936\.9 GB of each h100-sxm at 1.*has 8\d\.\d GB"):
        check_index_fits(index, find_device("h100-sxm"))


# -- counts ---------------------------------------------------------------------------------------


def test_the_bytes_of_codes_are_those_of_all_lists_probed():
    """The paper's artifact counted the arithmetic of n_probe lists and the bytes of one."""
    one, many = count_query(ivfpq(n_probe=1)), count_query(ivfpq(n_probe=100))
    assert one.code_bytes == pytest.approx(10**4 * IMBALANCE * 32)
    assert many.code_bytes == pytest.approx(100 * one.code_bytes)
    assert many.lookups == pytest.approx(100 * one.lookups)


def test_probing_every_list_scans_every_code_once():
    counts = count_query(ivfpq(n_probe=10**4))
    assert counts.codes == 10**8


def test_four_bit_codes_are_half_the_bytes_of_eight():
    assert 2 * count_query(ivfpq(bits=4)).code_bytes == count_query(ivfpq()).code_bytes


def test_a_graph_of_centroids_replaces_comparing_all_of_them():
    graph = count_query(ivfpq(coarse="hnsw", coarse_ef_search=8, n_probe=100))
    assert graph.centroids == 0
    assert graph.graph_steps > 100  # at least as many candidates as lists wanted
    assert graph.graph_vectors < 10**4


def test_a_graph_costs_what_it_expands_and_each_segment_anew():
    def counts(**changes):
        block = {"kind": "hnsw", "dimension": 768, "vectors": 10**6, "ef_search": 100}
        return count_query(find_index(IndexSpec(**{**block, **changes})))

    assert counts(ef_search=300).graph_vectors - counts().graph_vectors == pytest.approx(200 * 16)
    assert counts(vectors=4 * 10**6, segments=4).graph_vectors == pytest.approx(
        4 * counts().graph_vectors
    )
    assert counts(vectors=10**9).graph_vectors < 1.5 * counts().graph_vectors


# -- batches and cores ----------------------------------------------------------------------------


def test_a_batch_reads_the_centroids_once():
    cost = SearchCost(
        find_index("ivfpq-100b-large"), find_device("h100-sxm"), None, PERFECT_ACCELERATOR
    )
    one, two = cost.work(1).memory_bytes, cost.work(2).memory_bytes
    each = two - one
    assert one - each == pytest.approx(4 * 768 * 4194304)
    assert each < 0.01 * one


def test_more_queries_than_cores_wait_for_free_ones():
    cost = SearchCost(find_index("hnsw-1m"), find_device("epyc-9654"))
    one = cost.work(1).compute_seconds
    assert cost.work(96).compute_seconds == one
    assert cost.work(97).compute_seconds == 2 * one
    assert cost.work(960).compute_seconds == pytest.approx(10 * one)


def test_threads_per_query_trade_latency_for_nothing_in_throughput():
    alone = SearchCost(ivfpq(threads_per_query=1), find_device("epyc-9654"))
    together = SearchCost(ivfpq(), find_device("epyc-9654"))
    assert alone.work(1).compute_seconds == pytest.approx(96 * together.work(1).compute_seconds)
    assert alone.work(19).compute_seconds == alone.work(1).compute_seconds
    apart, as_one = alone.work(960).compute_seconds, together.work(960).compute_seconds
    assert as_one == pytest.approx(apart, rel=0.01)  # but centroids are then one product
    assert as_one < apart


def test_alone_a_batch_takes_the_longer_of_its_sides():
    cost = SearchCost(ivfpq(), find_device("grace"))
    compute, memory, overhead = cost.work(7)
    assert cost.seconds(7) == max(compute, memory / 512e9) + overhead


def test_reranking_from_storage_takes_the_reads_out_of_memory():
    near = SearchCost(ivfpq(rerank=64), find_device("grace")).work(1)
    far = SearchCost(ivfpq(rerank=64, rerank_from="storage"), find_device("grace")).work(1)
    assert far.memory_bytes < near.memory_bytes
    assert far.overhead_seconds == pytest.approx(near.overhead_seconds + 100e-6)
    assert SearchCost(ivfpq(rerank=64, rerank_from="storage"), find_device("grace")).work(
        3
    ).overhead_seconds == pytest.approx(300e-6)


def test_nothing_asked_costs_nothing():
    for name in DEVICES:
        assert SearchCost(find_index("flat-1m"), find_device(name)).seconds(0) == 0


@given(
    name=st.sampled_from(index_names()),
    device=st.sampled_from(DEVICES),
    queries=st.integers(1, 4000),
)
def test_more_queries_never_cost_less_and_single_ones_never_cost_more_together(
    name, device, queries
):
    cost = SearchCost(find_index(name), find_device(device))
    more, fewer = cost.work(queries + 1), cost.work(queries)
    assert more.memory_bytes >= fewer.memory_bytes
    assert more.compute_seconds >= fewer.compute_seconds * (1 - 1e-12)
    assert more.overhead_seconds >= fewer.overhead_seconds
    assert 0 < cost.seconds(queries) <= queries * cost.seconds(1) * (1 + 1e-9)


@given(
    device=st.sampled_from(DEVICES),
    probes=st.integers(1, 9_999),
    codes=st.integers(1, 95),
    reranked=st.integers(0, 500),
)
def test_a_search_that_looks_at_more_never_takes_less(device, probes, codes, reranked):
    def seconds(**changes):
        block = {"n_probe": probes, "sub_quantizers": codes, "rerank": reranked}
        return SearchCost(ivfpq(**{**block, **changes}), find_device(device)).seconds(10)

    at_least = seconds() * (1 - 1e-12)
    assert seconds(n_probe=probes + 1) >= at_least
    assert seconds(sub_quantizers=codes + 1) >= at_least
    assert seconds(rerank=reranked + 1) >= at_least


@pytest.mark.parametrize("name", index_names())
def test_more_bandwidth_and_more_cores_are_never_slower(name):
    device, index = find_device("epyc-9654"), find_index(name)
    faster = replace(device, memory_bandwidth_gb_per_s=2 * device.memory_bandwidth_gb_per_s)
    larger = replace(device, cores=192, peak_tflops={"fp32": 14.8})
    for queries in (1, 32, 500):
        seconds = SearchCost(index, device).seconds(queries)
        assert SearchCost(index, faster).seconds(queries) <= seconds
        assert SearchCost(index, larger).seconds(queries) <= seconds


# -- what cannot be -------------------------------------------------------------------------------


def test_a_processor_of_unknown_cores_is_refused():
    spec = DeviceSpec(
        kind="cpu", peak_tflops={"fp32": 5}, memory_gb=512, memory_bandwidth_gb_per_s=200
    )
    with pytest.raises(InfeasibleError, match="cores: how many cores mine has is not known"):
        SearchCost(find_index("hnsw-1m"), find_device("mine", {"mine": spec}))


def test_a_device_without_floats_is_refused():
    spec = DeviceSpec(peak_tflops={"int8": 5}, memory_gb=512, memory_bandwidth_gb_per_s=200)
    with pytest.raises(InfeasibleError, match=r"mine cannot compare vectors.*int8"):
        SearchCost(find_index("hnsw-1m"), find_device("mine", {"mine": spec}))


def test_what_is_reserved_is_not_there_and_more_devices_hold_more():
    index, device = find_index("flat-10m"), find_device("l40s")
    assert check_index_fits(index, device) == device.memory_bytes - index.size_bytes
    with pytest.raises(InfeasibleError, match=r"flat-10m needs 30\.7 GB.*; 2 would hold it"):
        check_index_fits(index, device, reserved_bytes=20 * 10**9)
    assert check_index_fits(index, device, 2, 20 * 10**9) > 0
    with pytest.raises(InfeasibleError, match="nothing is left of it"):
        check_index_fits(index, device, reserved_bytes=10**12)


def test_labels_say_what_was_fitted():
    index = find_index("ivfpq-1b")
    assert SearchCost(index, find_device("grace")).label == "search: fitted on other processors"
    assert SearchCost(index, find_device("h100")).label == "search: fitted on another GPU"
    assert SearchCost(find_index("hnsw-1m"), find_device("h100")).label == "search: assumed"
    assert SearchCost(index, find_device("grace"), PERFECT_CORE).label == "search: given constants"
