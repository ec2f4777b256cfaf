"""Where replicas stand, and the links between them."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.catalog import find_device
from hermes.errors import InfeasibleError, InputError, UnknownNameError
from hermes.scenario.topology import TopologySpec
from hermes.sim.clock import Clock
from hermes.sim.network import FlowNetwork
from hermes.sim.topology import ReplicaSite, Topology, resolve_topology

GB = 10**9
MICROSECOND = 10**6


def sites(client: str, device: str, replicas: int, devices: int = 1) -> list[ReplicaSite]:
    return [ReplicaSite(client, n, find_device(device), devices) for n in range(replicas)]


def resolved(where: list[ReplicaSite], **block) -> Topology:
    return resolve_topology(TopologySpec.model_validate(block), where)


def nodes(topology: Topology) -> list[str]:
    return [topology.node(n) for n in range(len(topology.sites))]


def bandwidth(topology: Topology, name: str) -> float:
    (found,) = (link.bytes_per_second for link in topology.links if link.name == name)
    return found / GB


def duration(topology: Topology, path: tuple[str, ...], size: int) -> int:
    env = Clock(initial_time=0)
    flow = FlowNetwork(env, topology.links).transfer(path, size, lambda: None)
    env.run()
    assert flow.finished is not None
    return flow.finished


# -- placement by default ------------------------------------------------------------------------


def test_replicas_fill_nodes_in_order_and_are_not_split():
    topology = resolve_topology(None, sites("chat", "h100", 4, devices=3))
    assert nodes(topology) == ["node-0", "node-0", "node-1", "node-1"]


def test_clients_of_one_device_type_fill_nodes_together_others_have_their_own():
    where = [
        *sites("prefill", "h100", 1, devices=4),
        *sites("embed", "l40s", 2),
        *sites("decode", "h100", 2, devices=4),
    ]
    assert nodes(resolve_topology(None, where)) == [
        "node-0",
        "node-1",
        "node-1",
        "node-0",
        "node-2",
    ]


@pytest.mark.parametrize(
    ("device", "size"), [("h100", 8), ("l40s", 8), ("gb200", 72), ("grace", 2)]
)
def test_a_node_is_a_scale_up_domain_or_a_server(device, size):
    topology = resolve_topology(None, sites("chat", device, size + 1))
    assert nodes(topology) == ["node-0"] * size + ["node-1"]


def test_a_large_replica_takes_whole_nodes():
    where = [*sites("big", "h100", 2, devices=12), *sites("small", "h100", 1)]
    assert nodes(resolve_topology(None, where)) == ["node-0", "node-2", "node-4"]


def test_eight_nodes_make_a_rack():
    topology = resolve_topology(None, sites("chat", "h100", 9, devices=8))
    assert [topology.rack(n) for n in range(9)] == ["rack-0"] * 8 + ["rack-1"]


@given(st.lists(st.tuples(st.integers(1, 8), st.integers(1, 5)), min_size=1, max_size=5))
def test_no_node_holds_more_than_it_has(clients):
    where = [
        site
        for n, (devices, replicas) in enumerate(clients)
        for site in sites(f"c{n}", "h100", replicas, devices)
    ]
    topology = resolve_topology(None, where)
    held: dict[str, int] = {}
    for n, site in enumerate(where):
        held[topology.node(n)] = held.get(topology.node(n), 0) + site.devices
    assert max(held.values()) <= 8


# -- placement as written ------------------------------------------------------------------------


def test_nodes_and_racks_as_written():
    topology = resolved(
        sites("chat", "h100", 3),
        nodes={
            "left": {"rack": "A", "replicas": {"chat": [0, 2]}},
            "right": {"rack": "B", "replicas": {"chat": [1]}},
        },
    )
    assert nodes(topology) == ["left", "right", "left"]
    assert topology.rack(1) == "B"
    assert topology.same_node(0, 2)
    assert not topology.same_node(0, 1)


@pytest.mark.parametrize(
    ("block", "error", "message"),
    [
        (
            {"nodes": {"n0": {"replicas": {"caht": [0]}}}},
            UnknownNameError,
            r"topology\.nodes\.n0\.replicas: unknown client 'caht'; did you mean 'chat'\?",
        ),
        (
            {"nodes": {"n0": {"replicas": {"chat": [0, 1, 2]}}}},
            InputError,
            r"topology\.nodes\.n0\.replicas\.chat: client 'chat' has no replica 2; it has 2",
        ),
        (
            {"nodes": {"n0": {"replicas": {"chat": [0]}}}},
            InputError,
            r"topology\.nodes: every replica needs a node; none is given for chat/1",
        ),
        (
            {"nodes": {"n0": {"replicas": {"chat": [0, 1]}}}, "devices_per_node": 4},
            InfeasibleError,
            r"topology\.nodes\.n0: 8 devices \(chat/0, chat/1\) on a node of 4",
        ),
        (
            {"preset": "paper-h10"},
            UnknownNameError,
            r"topology\.preset: unknown network 'paper-h10'; did you mean 'paper-h100'\?",
        ),
    ],
)
def test_wrong_placements_are_refused_by_name(block, error, message):
    with pytest.raises(error, match=message):
        resolved(sites("chat", "h100", 2, devices=4), **block)


# -- paths ---------------------------------------------------------------------------------------


def test_a_replica_reaches_itself_over_nothing():
    assert resolve_topology(None, sites("chat", "h100", 1)).path(0, 0) == ()


def test_within_a_node_over_the_scale_up_ports():
    topology = resolve_topology(None, sites("chat", "h100", 4, devices=2))
    assert topology.path(0, 3) == ("chat/0/scale-up-out", "chat/3/scale-up-in")
    assert bandwidth(topology, "chat/0/scale-up-out") == 2 * 450


def test_within_a_node_without_scale_up_over_the_host():
    topology = resolve_topology(None, sites("chat", "l40s", 2))
    assert topology.path(0, 1) == ("chat/0/host-out", "node-0/memory", "chat/1/host-in")
    assert bandwidth(topology, "chat/0/host-out") == 31


def test_within_a_rack_over_the_nics():
    topology = resolve_topology(None, sites("chat", "h100", 2, devices=8))
    assert topology.path(0, 1) == ("chat/0/nic-out", "chat/1/nic-in")
    assert bandwidth(topology, "chat/0/nic-out") == 8 * 50


def test_between_racks_over_the_core():
    topology = resolved(sites("chat", "h100", 2, devices=8), nodes_per_rack=1)
    assert topology.path(1, 0) == (
        "chat/1/nic-out",
        "rack-1/up",
        "core",
        "rack-0/down",
        "chat/0/nic-in",
    )
    assert bandwidth(topology, "core") == inf
    assert bandwidth(topology, "rack-1/up") == inf


def test_a_shared_node_port_is_on_the_way_where_it_is_stated():
    topology = resolved(sites("chat", "h100", 2, devices=8), node_gb_per_s=100)
    assert topology.path(0, 1) == ("chat/0/nic-out", "node-0/out", "node-1/in", "chat/1/nic-in")
    assert bandwidth(topology, "node-0/out") == 100


def test_a_nic_that_the_catalog_does_not_know_has_50_gb_per_s():
    assert bandwidth(resolve_topology(None, sites("chat", "l40s", 1)), "chat/0/nic-in") == 50


def test_what_is_stated_goes_before_preset_and_catalog():
    where = sites("chat", "h100", 1)
    assert bandwidth(resolved(where, preset="paper-h100"), "chat/0/nic-in") == 45
    both = resolved(where, preset="paper-h100", nic_gb_per_s=25, scale_up_gb_per_s=200)
    assert bandwidth(both, "chat/0/nic-in") == 25
    assert bandwidth(both, "chat/0/scale-up-in") == 200


def test_a_network_may_reach_no_further_than_a_rack():
    topology = resolved(sites("chat", "h100", 3, devices=8), nodes_per_rack=2, reach="rack")
    assert topology.reaches(0, 1)
    assert not topology.reaches(0, 2)
    with pytest.raises(InfeasibleError, match=r"no path from chat/0 \(node-0, rack-0\) to chat/2"):
        topology.path(0, 2)


def test_a_network_may_reach_no_further_than_a_node():
    topology = resolved(sites("chat", "h100", 3, devices=4), reach="node")
    assert topology.path(0, 1)
    with pytest.raises(InfeasibleError, match="reaches no further than a node"):
        topology.path(0, 2)


# -- hosts and stores ----------------------------------------------------------------------------


def test_a_host_path_ends_in_the_memory_of_the_node():
    topology = resolve_topology(None, sites("chat", "h100", 1, devices=2))
    assert topology.host_path(0) == ("node-0/memory", "chat/0/host-in")
    assert topology.host_path(0, to_host=True) == ("chat/0/host-out", "node-0/memory")
    assert bandwidth(topology, "chat/0/host-in") == 2 * 63
    assert bandwidth(topology, "node-0/memory") == inf


def test_a_cpu_replica_lends_its_memory_to_the_node():
    topology = resolved(
        [*sites("chat", "h100", 1), *sites("vectors", "grace", 1)],
        nodes={"n": {"replicas": {"chat": [0], "vectors": [0]}}},
    )
    assert topology.host_path(1) == ("n/memory",)
    assert topology.path(1, 0) == ("n/memory", "chat/0/host-in")
    assert topology.path(0, 1) == ("chat/0/host-out", "n/memory")
    assert bandwidth(topology, "n/memory") == 512


def test_stores_hang_on_a_rack_or_on_the_core():
    topology = resolved(sites("chat", "h100", 2, devices=8), nodes_per_rack=1)
    assert topology.store_path(0, "rack-0") == ("chat/0/nic-in",)
    assert topology.store_path(0, "rack-0", to_store=True) == ("chat/0/nic-out",)
    over = ("rack-1/up", "core", "rack-0/down", "chat/0/nic-in")
    assert topology.store_path(0, "rack-1") == over
    assert topology.store_path(0) == over[1:]
    assert topology.store_path(0, to_store=True) == ("chat/0/nic-out", "rack-0/up", "core")


def test_a_store_out_of_reach_is_refused():
    topology = resolved(sites("chat", "h100", 2, devices=8), nodes_per_rack=1, reach="rack")
    assert topology.store_path(0, "rack-0")
    with pytest.raises(InfeasibleError, match="no path from a store in rack-1 to chat/0"):
        topology.store_path(0, "rack-1")


# -- the paper's figures -------------------------------------------------------------------------


def test_a_lone_transfer_takes_what_the_papers_table_says():
    topology = resolved(sites("chat", "h100", 80, devices=2), preset="paper-h100")
    size = 4 * GB
    for target, gb_per_s, latency_us in ((1, 2 * 292.5, 10), (4, 45, 20), (32, 7.5, 200)):
        seconds = size / (gb_per_s * GB)
        expected = latency_us * MICROSECOND + seconds * 10**12
        assert duration(topology, topology.path(0, target), size) == pytest.approx(expected)


block_of = st.fixed_dictionaries(
    {},
    optional={
        "preset": st.sampled_from(["paper-h100", "paper-a100"]),
        "node_gb_per_s": st.integers(1, 100),
        "rack_gb_per_s": st.integers(1, 100),
        "nodes_per_rack": st.integers(1, 3),
    },
)


@given(block=block_of, devices=st.integers(1, 8))
def test_every_path_exists_and_takes_as_long_as_the_way_back(block, devices):
    where = [*sites("a", "h100", 4, devices), *sites("b", "l40s", 2), *sites("c", "grace", 2)]
    topology = resolved(where, **block)
    known = {link.name for link in topology.links}
    assert len(known) == len(topology.links)
    for a in range(len(where)):
        assert set(topology.host_path(a)) | set(topology.store_path(a)) <= known
        for b in range(a):
            there, back = topology.path(a, b), topology.path(b, a)
            assert {*there, *back} <= known
            assert duration(topology, there, GB) == duration(topology, back, GB)
