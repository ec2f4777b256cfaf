"""Stated context: how much, where it lies, who may serve it, and what it costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hermes.catalog import find_device
from hermes.errors import InputError
from hermes.scenario import build_scenario
from hermes.sim import simulate
from hermes.sim.simulation import SimulationResult


def scenario(recall: dict[str, Any], *, replicas: int = 4, **client: Any) -> dict[str, Any]:
    return {
        "workload": {
            "requests": {"lengths": {"prompt": 100, "output": 1}},
            "arrivals": {"process": "constant", "rate_per_s": 10},
            "limit": {"requests": 300},
        },
        "topology": {
            "devices_per_node": 2,
            "tiers": {
                "own": {"shared_by": "replica", "bandwidth_gb_per_s": 100.0},
                "shared": {"shared_by": "node", "bandwidth_gb_per_s": 10.0, "latency_us": 500.0},
                "all": {"shared_by": "all", "bandwidth_gb_per_s": 1.0, "latency_us": 9000.0},
            },
        },
        "pipelines": {"chat": [{"generate": {"recall": recall}}]},
        "clients": {
            "chat": {
                "model": "llama-3.1-8b",
                "device": "h100-sxm",
                "replicas": replicas,
                "costs": {"linear": {"step_us": 1000, "token_us": 10}},
                "max_num_batched_tokens": 100_000,
                "kv_tiers": ["own"],
                "kv_write_back": "never",
                **client,
            }
        },
    }


def run(recall: dict[str, Any], **client: Any) -> SimulationResult:
    return simulate(build_scenario(scenario(recall, **client)), check=True)


def latencies(result: SimulationResult) -> set[int]:
    requests = result.requests
    return set((requests.last_token - requests.arrival).tolist())


def test_a_hit_is_fetched_and_a_miss_computed() -> None:
    hit, miss = (run({"tokens": 1000, "hit_rate": rate}) for rate in (1.0, 0.0))
    size = 1000 * 131_072
    port = find_device("h100-sxm").host_bandwidth_gb_per_s  # narrower than the store
    assert latencies(miss) == {(1000 + 1100 * 10) * 10**6}
    (ticks,) = latencies(hit)
    latency = 10 * 10**6  # of that port
    assert ticks - latency - (1000 + 100 * 10) * 10**6 == -(-size * 1000 // port)
    assert sum(tier.bytes_read for tier in hit.tiers) == 300 * size
    assert sum(tier.missed_tokens for tier in miss.tiers) == 300 * 1000


def test_a_request_only_runs_where_its_context_can_be_reached() -> None:
    private = run({"tokens": 1000})
    served = np.bincount(private.requests.replica, minlength=4)
    assert served.tolist() == [tier.hit_tokens // 1000 for tier in private.tiers]
    assert min(served) > 40  # all alike
    shared = run({"tokens": 1000}, kv_tiers=["shared"])
    by_node = np.bincount(shared.requests.replica // 2)
    assert by_node.tolist() == [tier.hit_tokens // 1000 for tier in shared.tiers]


def test_hot_homes_are_few() -> None:
    hot = run({"tokens": 10, "home": {"hot": {"centres": 1, "sigma": 0.3}}}, replicas=8)
    served = np.bincount(hot.requests.replica, minlength=8)
    assert max(served) > 0.9 * served.sum()
    again = run({"tokens": 10, "home": {"hot": {"centres": 1, "sigma": 0.3}}}, replicas=8)
    assert again.requests.replica.tolist() == hot.requests.replica.tolist()


def test_levels_are_asked_in_turn_each_with_its_own_chance() -> None:
    result = run({"tokens": 10, "hit_rate": [0.5, 0.5]}, kv_tiers=["shared", "all"])
    hits = {
        name: sum(tier.hit_tokens for tier in result.tiers if tier.tier == name) // 10
        for name in ("shared", "all")
    }
    assert hits["shared"] == pytest.approx(150, abs=30)
    assert hits["all"] == pytest.approx(75, abs=25)
    missed = sum(tier.missed_tokens for tier in result.tiers if tier.tier == "all") // 10
    assert hits["shared"] + hits["all"] + missed == 300


def test_without_tiers_all_is_computed_anywhere() -> None:
    result = run({"tokens": 1000}, kv_tiers=[])
    assert latencies(result) == {(1000 + 1100 * 10) * 10**6}
    assert result.tiers == ()


def test_context_counts_in_the_cache_and_in_what_fits() -> None:
    result = run({"tokens": 5000}, max_model_len=2000)
    assert set(result.requests.reason) == {"exceeds_max_model_len"}
    assert result.summary["rejected"] == 300


def test_what_is_new_is_written_back_and_costs_bandwidth() -> None:
    result = run({"tokens": 1000}, kv_write_back="finish")
    assert sum(tier.bytes_written for tier in result.tiers) == 300 * 100 * 131_072


def test_prefill_clients_fetch_and_decode_clients_get_it_all() -> None:
    base = scenario({"tokens": 1000})
    chat = base["clients"]["chat"]
    decode = {key: value for key, value in chat.items() if not key.startswith("kv_")}
    base["clients"] = {
        "p": {**chat, "serves": ["prefill"]},
        "d": {**decode, "serves": ["decode"]},
    }
    base["workload"]["requests"] = {"lengths": {"prompt": 100, "output": 5}}
    result = simulate(build_scenario(base), check=True)
    assert result.summary["completed"] == 300
    assert sum(tier.hit_tokens for tier in result.tiers) == 300_000


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tiers.own.capacity_gb": -1.0}, ["topology.tiers.own.capacity_gb", "greater than 0"]),
        ({"tiers.own.bandwidth_gb_per_s": 0.0}, ["topology.tiers.own.bandwidth_gb_per_s"]),
        ({"tiers.own.bandwidth_gb_per_s": None}, ["tiers.own.bandwidth_gb_per_s", "medium"]),
        ({"tiers.own.latency_us": -1.0}, ["topology.tiers.own.latency_us"]),
        ({"tiers.own.medium": "nvme-pcie5"}, ["tiers.own.medium", "did you mean 'nvme-pcie4'"]),
        ({"tiers.own.eviction": "lfu"}, ["tiers.own.eviction", "allowed: lru, s3fifo"]),
        ({"tiers.own.capacity_gb": 1e-6}, ["topology.tiers.own.capacity_gb", "one KV block"]),
        ({"tiers.own.shared_by": "pod"}, ["topology.tiers.own.shared_by"]),
        ({"kv_tiers": ["owned"]}, ["clients.chat.kv_tiers.0", "did you mean 'own'"]),
        ({"kv_tiers": ["own", "own"]}, ["clients.chat.kv_tiers", "twice"]),
        ({"kv_tiers": ["all"], "reach": "rack"}, ["clients.chat.kv_tiers.0", "shared_by: all"]),
        ({"kv_tiers": ["own", "all"], "reach": "node"}, ["clients.chat.kv_tiers.1", "node"]),
        ({"kv_load": "layerwise", "pipeline_parallel_size": 2}, ["clients.chat.kv_load"]),
        (
            {"kv_load": "layerwise", "scheduler_reserve_full_isl": False},
            ["clients.chat.kv_load", "scheduler_reserve_full_isl"],
        ),
        (
            {"kv_write_back": "evict", "enable_prefix_caching": False},
            ["clients.chat.kv_write_back", "enable_prefix_caching"],
        ),
        ({"recall.hit_rate": [0.5, 0.5]}, ["recall.hit_rate", "2 hit rates, for 1 tiers"]),
        ({"recall.hit_rate": 1.5}, ["recall.hit_rate"]),
        ({"recall.tokens": 0}, ["recall.tokens"]),
        ({"recall.home": "unifrom"}, ["recall.home", "did you mean 'uniform'"]),
        ({"recall.home": {"hot": {"sigma": 0.0}}}, ["recall.home", "sigma"]),
        ({"requests": "prefixes"}, ["generate.recall", "share a beginning"]),
    ],
)
def test_what_cannot_be_is_refused_before_time_starts(change, words) -> None:
    mapping = scenario({"tokens": 100})
    for path, value in change.items():
        apply(mapping, path, value)
    with pytest.raises(InputError) as caught:
        simulate(build_scenario(mapping))
    for word in words:
        assert word in str(caught.value)


def apply(mapping: dict[str, Any], path: str, value: Any) -> None:
    if path == "requests":
        shared = {"prefix_tokens": 64, "suffix_tokens": 64, "num_prefixes": 4}
        mapping["workload"]["requests"] = {"prefix_repetition": shared}
    elif path == "reach":
        mapping["topology"]["reach"] = value
    elif path.startswith("tiers."):
        _, name, field = path.split(".")
        tier = mapping["topology"]["tiers"][name]
        tier[field] = value
        if value is None:
            del tier[field]
    elif path.startswith("recall."):
        stage = mapping["pipelines"]["chat"][0]["generate"]["recall"]
        stage[path.removeprefix("recall.")] = value
    else:
        mapping["clients"]["chat"][path] = value
