"""Prefill and decode pools: who computes what, when the KV is there, and what it costs to move."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from hermes.errors import InputError
from hermes.metrics.gaps import TokenGaps
from hermes.scenario import build_scenario
from hermes.scenario.topology import TopologySpec
from hermes.sim import simulate
from hermes.sim.deployment import ClientPlan, Deployment, RoutePlan
from hermes.sim.limits import EngineLimits
from hermes.sim.routing import ROUTING
from hermes.sim.simulation import simulate_deployment
from tests.oracle.reference import (
    ROUTERS,
    NeverEndsError,
    ReferenceReplica,
    Request,
    run_reference_pools,
)
from tests.sim.deployments import US, deployment, limits, linear, one_call, topology_of, workload
from tests.sim.test_against_oracle import COSTS, SCENARIO, cases

LATENCY_US = 137.0


def pools(
    prefill: ClientPlan, decode: ClientPlan, routing: str = "least_loaded", **topology: float
) -> Deployment:
    """A prefill and a decode pool; by default moving KV takes a constant time."""
    chosen = ROUTING.find(routing, "routing")
    clients = (
        replace(prefill, name="p", serves="prefill"),
        replace(decode, name="d", serves="decode"),
    )
    route = RoutePlan(("p",), chosen, RoutePlan(("d",), chosen))
    spec = TopologySpec.model_validate(
        {"nic_latency_us": LATENCY_US, "core_latency_us": 0.0, "devices_per_node": 1, **topology}
    )
    return Deployment(clients, (), {"default": one_call(route)}, topology_of(clients, spec))


def client(bounds: EngineLimits | None = None, **changes: object) -> ClientPlan:
    plan = deployment(bounds=bounds or limits()).clients[0]
    return replace(plan, **{"kv_bytes_per_token": 0, **changes})


def check(
    requests: list[tuple[int, int, int]],
    bounds: tuple[EngineLimits, EngineLimits],
    sizes: tuple[int, int] = (1, 1),
    routing: str = "round_robin",
    cost: str = "linear",
) -> None:
    plan = pools(
        client(bounds[0], replicas=sizes[0], costs=COSTS[cost]()),
        client(bounds[1], replicas=sizes[1], costs=COSTS[cost]()),
        routing,
    )
    links = {link.name: link for link in plan.topology.links}
    hop = sum(links[name].latency for name in plan.topology.path(0, sizes[0]))
    reference = [Request(i, *request) for i, request in enumerate(requests)]
    try:
        run_reference_pools(
            reference,
            [ReferenceReplica(bounds[0], "chunked", COSTS[cost]()) for _ in range(sizes[0])],
            ROUTERS[routing](),
            [ReferenceReplica(bounds[1], "chunked", COSTS[cost]()) for _ in range(sizes[1])],
            ROUTERS[routing](),
            hop,
        )
    except NeverEndsError:
        reject()
    gaps = sorted(
        later - earlier
        for r in reference
        for earlier, later in zip(r.token_times, r.token_times[1:], strict=False)
    )
    for fast_forward in (True, False):
        result = simulate_deployment(SCENARIO, plan, workload(requests), fast_forward, check=True)
        columns = result.requests
        assert list(
            zip(columns.first_token, columns.last_token, columns.preemptions, strict=True)
        ) == [(r.token_times[0], r.token_times[-1], r.preemptions) for r in reference]
        values, counts = TokenGaps.gathered(result.gaps)
        assert values.repeat(counts).tolist() == gaps


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_random_pools_equal_the_reference(data: st.DataObject) -> None:
    case = data.draw(cases("chunked"))
    room = case.bounds.num_blocks * case.bounds.block_size
    prefill = replace(
        case.bounds,
        swap_blocks=0,
        num_blocks=data.draw(st.sampled_from([case.bounds.num_blocks, 4000])),
    )
    decode = replace(case.bounds, swap_blocks=0)
    requests = [(t, p, o) for t, p, o in case.requests if p + o - 1 <= room]
    sizes = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    routing = data.draw(st.sampled_from(["round_robin", "join_shortest_queue"]))
    check(requests, (prefill, decode), sizes, routing, case.cost)


def test_a_burst_through_a_decode_pool_too_small_for_it() -> None:
    requests = [(i * 100 * US, 50 + i, 30) for i in range(40)]
    check(requests, (limits(), limits(num_blocks=20, max_num_seqs=3)), (2, 2))


def test_a_request_alone_is_prefill_then_transfer_then_decode() -> None:
    prefill = client(costs=linear(1000, 10, 0))
    decode = client(costs=linear(500, 0, 0))
    plan = pools(
        replace(prefill, kv_bytes_per_token=100_000), decode, nic_gb_per_s=1.0, nic_latency_us=0.0
    )
    columns = simulate_deployment(SCENARIO, plan, workload([(0, 1000, 11)]), check=True).requests
    prompt = (1000 + 1000 * 10) * US
    transfer = 1000 * 100_000 * 1000  # bytes at 1 byte a nanosecond, in ticks
    assert columns.first_token[0] == prompt
    assert columns.last_token[0] == prompt + transfer + 10 * 500 * US


def test_layerwise_transfer_hides_behind_the_prompt() -> None:
    prefill = client(costs=linear(1000, 10, 0), kv_bytes_per_token=10_000)
    decode = client(costs=linear(500, 0, 0))
    network = {"nic_gb_per_s": 1.0, "nic_latency_us": 0.0}
    whole = pools(prefill, decode, **network)
    layerwise = pools(replace(prefill, layerwise=True), decode, **network)
    traffic = workload([(0, 1000, 11)])
    last = [
        int(simulate_deployment(SCENARIO, plan, traffic, check=True).requests.last_token[0])
        for plan in (whole, layerwise)
    ]
    prompt, transfer, decodes = 11_000 * US, 1000 * 10_000 * 1000, 5_000 * US
    assert last[0] == prompt + transfer + decodes
    assert last[1] == prompt + decodes  # 10 ms of transfer, within the 11 ms of the prompt


def test_two_transfers_share_the_port_they_leave_by() -> None:
    prefill = client(costs=linear(1000, 0, 0), kv_bytes_per_token=100_000)
    decode = client(costs=linear(500, 0, 0), replicas=2)
    plan = pools(prefill, decode, "round_robin", nic_gb_per_s=1.0, nic_latency_us=0.0)
    columns = simulate_deployment(SCENARIO, plan, workload([(0, 100, 2), (0, 100, 2)])).requests
    both = 2 * 100 * 100_000 * 1000
    assert set(columns.last_token.tolist()) == {1000 * US + both + 500 * US}


class TestRolesThatChange:
    def test_an_idle_decode_replica_takes_a_request_whole(self) -> None:
        prefill = client(costs=linear(1000, 100, 0), overflow_tokens=500)
        plan = pools(prefill, client(costs=linear(1000, 100, 0)))
        requests = [(0, 1000, 5), (1, 1000, 5), (2, 1000, 5)]
        columns = simulate_deployment(SCENARIO, plan, workload(requests), check=True).requests
        assert columns.replica.tolist() == [0, 1, 0]

    def test_without_overflow_roles_never_change(self) -> None:
        plan = pools(client(costs=linear(1000, 100, 0)), client(costs=linear(1000, 100, 0)))
        requests = [(0, 1000, 5), (1, 1000, 5), (2, 1000, 5)]
        columns = simulate_deployment(SCENARIO, plan, workload(requests), check=True).requests
        assert columns.replica.tolist() == [0, 0, 0]

    def test_an_idle_prefill_replica_keeps_what_it_prefilled(self) -> None:
        decode = client(costs=linear(1000, 0, 0), overflow_tokens=500)
        plan = pools(client(costs=linear(1000, 0, 0), kv_bytes_per_token=10**9), decode)
        requests = [(0, 1000, 500), (1_000_000_000_000, 1000, 5)]
        slow = simulate_deployment(SCENARIO, plan, workload(requests), check=True).requests
        # the first one's terabyte is still on its way when the second is done, where it is
        assert slow.last_token[1] - slow.arrival[1] == 5 * 1000 * US


def scenario(**changes: object) -> dict[str, object]:
    return {
        "workload": {"requests": {"sample": "chat"}, "limit": {"requests": 200}},
        "clients": {
            "p": {"serves": ["prefill"], "model": "llama-3.1-8b", "device": "h200-sxm"},
            "d": {
                "serves": ["decode"],
                "model": "llama-3.1-8b",
                "device": "a100-sxm-80",
                "tensor_parallel_size": 2,
                "replicas": 2,
            },
        },
        **changes,
    }


def test_pools_on_different_hardware_serve_a_scenario() -> None:
    result = simulate(build_scenario(scenario()))
    assert result.summary["completed"] == 200
    assert result.summary["devices"] == 5


def test_local_pairs_only_use_replicas_of_their_node() -> None:
    nodes = {
        "one": {"rack": "r", "replicas": {"p": [0], "d": [0]}},
        "two": {"rack": "r", "replicas": {"d": [1]}},
    }
    local = scenario(topology={"nodes": nodes, "reach": "node"})
    assert simulate(build_scenario(local)).summary["completed"] == 200


@pytest.mark.parametrize(
    ("client_changes", "words"),
    [
        ({"p": {"serves": ["decode"]}}, ["clients.p.serves", "none serves prefill"]),
        ({"d": {"serves": ["prefill"]}}, ["clients.p.serves", "none serves decode"]),
        ({"d": {"serves": ["generate"]}}, ["must name a client"]),
        ({"d": {"kv_cache_dtype": "fp8"}}, ["clients.d.kv_cache_dtype", "one format"]),
    ],
)
def test_pools_that_do_not_pair_are_refused(client_changes, words: list[str]) -> None:
    mapping = scenario()
    clients = {
        name: {**spec, **client_changes.get(name, {})} for name, spec in mapping["clients"].items()
    }
    with pytest.raises(InputError) as caught:
        simulate(build_scenario({**mapping, "clients": clients}))
    for word in words:
        assert word in str(caught.value)


def test_a_step_that_moves_kv_to_the_host_is_a_block_of_its_own() -> None:
    """A decode replica swaps, and then its decodes run on undisturbed; found by random cases."""
    bounds = limits(max_num_seqs=2, max_num_batched_tokens=42, block_size=4, num_blocks=8)
    swapping = client(replace(bounds, swap_blocks=5), costs=COSTS["curved"]())
    plan = pools(replace(swapping, layerwise=True), swapping, "join_shortest_queue")
    requests = [(0, 1, 1)] * 2 + [(0, 3, 3)] + [(0, 1, 1)] * 2 + [(0, 24, 3)] + [(0, 1, 1)] * 5
    fast, slow = (simulate_deployment(SCENARIO, plan, workload(requests), f) for f in (True, False))
    assert fast.requests.last_token.tolist() == slow.requests.last_token.tolist()
