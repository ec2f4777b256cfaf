"""A topology needs nothing stated, and refuses what makes no sense."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from hermes.scenario.topology import TopologySpec

PLACED = {
    "nodes": {
        "n0": {"rack": "r0", "replicas": {"prefill": [0, 1], "decode": [0]}},
        "n1": {"replicas": {"decode": [1]}},
    }
}


def test_an_empty_block_is_a_topology():
    spec = TopologySpec.model_validate({})
    assert spec.nodes is None
    assert spec.reach == "all"


def test_nodes_name_the_replicas_on_them():
    spec = TopologySpec.model_validate(PLACED)
    assert spec.nodes is not None
    assert spec.nodes["n0"].replicas == {"prefill": (0, 1), "decode": (0,)}
    assert spec.nodes["n1"].rack is None


@pytest.mark.parametrize(
    "block",
    [
        {"nic_gb_per_s": 0},
        {"nic_gb_per_s": -50},
        {"rack_gb_per_s": 0},
        {"core_gb_per_s": float("inf")},
        {"scale_up_gb_per_s": "450"},
        {"host_memory_gb_per_s": -1.0},
        {"nic_latency_us": -1},
        {"devices_per_node": 0},
        {"nodes_per_rack": 2.5},
        {"reach": "pod"},
        {"nic_gbps": 400},
        {"nodes": {}},
        {"nodes": {"n0": {"replicas": {}}}},
        {"nodes": {"n0": {"replicas": {"chat": []}}}},
        {"nodes": {"n0": {"replicas": {"chat": [-1]}}}},
        {"nodes": {"n0": {"replicas": {"chat": ["0"]}}}},
        {"nodes": {"n 0": {"replicas": {"chat": [0]}}}},
        {"nodes": {"n0": {"replicas": {"chat": [0]}, "rcak": "r0"}}},
    ],
)
def test_senseless_values_and_unknown_keys_are_errors(block):
    with pytest.raises(ValidationError):
        TopologySpec.model_validate(block)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (
            {"n0": {"replicas": {"chat": [0]}}, "n1": {"replicas": {"chat": [1, 0]}}},
            "replica 0 of client 'chat' is placed twice: on node 'n0' and on node 'n1'",
        ),
        (
            {"n0": {"replicas": {"chat": [1, 1]}}},
            "replica 1 of client 'chat' is placed twice: on node 'n0' and on node 'n0'",
        ),
    ],
)
def test_a_replica_stands_on_one_node(nodes, message):
    with pytest.raises(ValidationError, match=message):
        TopologySpec.model_validate({"nodes": nodes})
