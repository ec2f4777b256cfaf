"""What a router sees of a replica: true, and the same however steps are grouped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hermes.scenario import build_scenario
from hermes.scenario.routing import RoutingBlock
from hermes.sim.deployment import resolve
from hermes.sim.lane import Batch
from hermes.sim.replica import Replica
from hermes.sim.route_plan import RoutePlan
from hermes.sim.routing import ROUTING
from hermes.sim.routing.plan import plan_policy
from hermes.sim.simulation import simulate_deployment
from hermes.workload import Prefixes
from tests.sim.deployments import US, limits, one_call
from tests.sim.routing.pools import routed, run, traffic
from tests.sim.test_against_oracle import COSTS, SCENARIO, prefixes

POLICIES = [
    "least_loaded",
    "join_shortest_queue",
    "fewest_pending_tokens",
    "fewest_decodes",
    "shortest_drain",
    "oracle",
    {"power_of_two": {"signal": "drain"}},
    {"heavy_light": {"by": "either", "prompt_tokens": 40, "output_tokens": 20}},
    {"prefix_affinity": {"cache_threshold": 0.0, "signal": "kv_blocks"}},
    {"prefix_affinity": {"cache": "router", "balance_abs_threshold": 1}},
    {"kv_overlap": {}},
    {"weighted_scores": {}},
    {"session_sticky": {"balance_abs_threshold": 1}},
    {"consistent_hash": {"key": "prefix", "prefix_tokens": 16}},
]


@pytest.mark.parametrize("interval_ms", [0, 7, 50])
@pytest.mark.parametrize("policy", POLICIES, ids=str)
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_fast_forward_does_not_change_what_a_router_sees(policy, interval_ms, data) -> None:
    """Small caches with shared prefixes, so that blocks are evicted in steps nobody stops at."""
    bounds = limits(
        num_blocks=data.draw(st.sampled_from([40, 90, 400])),
        max_num_seqs=data.draw(st.sampled_from([2, 16])),
        max_num_batched_tokens=128,
        block_size=data.draw(st.sampled_from([1, 16])),
    )
    room = bounds.num_blocks * bounds.block_size
    requests, now = [], 0
    for _ in range(data.draw(st.integers(2, 30))):
        now += data.draw(st.integers(0, 40_000)) * US
        prompt = data.draw(st.integers(1, min(300, room // 2)))
        requests.append((now, prompt, data.draw(st.integers(1, min(120, room // 2)))))
    shared = data.draw(prefixes(requests, bounds.block_size))
    sessions = [data.draw(st.integers(-1, 4)) for _ in requests]
    cost = COSTS[data.draw(st.sampled_from(sorted(COSTS)))]()
    block = {"policy": policy} if isinstance(policy, str) else dict(policy)
    if interval_ms:
        block["signal_interval_ms"] = float(interval_ms)
    whole, stepwise = (
        run(
            block,
            traffic(requests, shared, sessions),
            3,
            fast_forward=fast_forward,
            bounds=bounds,
            costs=cost,
        )
        for fast_forward in (True, False)
    )
    assert whole.replica.tolist() == stepwise.replica.tolist()
    assert whole.last_token.tolist() == stepwise.last_token.tolist()
    assert whole.first_token.tolist() == stepwise.first_token.tolist()


@pytest.mark.parametrize("fast_forward", [True, False])
@pytest.mark.parametrize(("after_ms", "expected"), [(1500, 0), (4770, 1)])
def test_a_prefix_evicted_by_decodes_is_not_seen_any_more(
    after_ms: int, expected: int, fast_forward: bool
) -> None:
    """A document of 60 blocks in a cache of 100, and a decode that grows to 85 of them."""
    document, other = tuple(range(60)), tuple(range(1000, 1010))
    requests = [(0, 960, 5), (10**13, 160, 1200), (10**13 + after_ms * 10**9, 960, 5)]
    log = run(
        {"prefix_affinity": {}},
        traffic(requests, Prefixes(16, (document, other, document))),
        2,
        fast_forward=fast_forward,
        bounds=limits(num_blocks=100),
    )
    assert log.replica.tolist() == [0, 0, expected]
    assert log.last_token[1] > log.arrival[2]


@pytest.mark.parametrize("mode", ["expected", "sampled"])
@pytest.mark.parametrize("policy", ["oracle", "shortest_drain", "least_loaded", "kv_overlap"])
def test_nor_with_speculative_decoding(policy: str, mode: str) -> None:
    speculation = {"num_speculative_tokens": 3, "acceptance_rate": 0.7, "mode": mode}
    scenario = build_scenario(
        {
            "workload": {
                "requests": {"sample": "chat"},
                "arrivals": {"process": "poisson", "rate_per_s": 60},
                "limit": {"requests": 150},
            },
            "clients": {
                "chat": {
                    "model": "llama-3.1-8b",
                    "device": "h100-sxm",
                    "replicas": 3,
                    "num_gpu_blocks_override": 1500,
                    "speculative_config": speculation,
                }
            },
            "routing": {"chat": policy},
        }
    )
    rng = np.random.default_rng(1)
    arrivals = np.cumsum(rng.integers(1, 30_000, 150)) * US
    requests = [
        (int(a), int(p), int(o))
        for a, p, o in zip(
            arrivals, rng.integers(1, 900, 150), rng.integers(1, 300, 150), strict=True
        )
    ]
    whole, stepwise = (
        simulate_deployment(
            scenario, resolve(scenario), traffic(requests), fast_forward=fast_forward
        ).requests
        for fast_forward in (True, False)
    )
    assert whole.replica.tolist() == stepwise.replica.tolist()
    assert whole.last_token.tolist() == stepwise.last_token.tolist()


def test_remaining_outputs_and_contexts_are_those_of_the_sequences() -> None:
    """A cache so small that sequences are preempted, with and without a way back from the host."""
    checked = 0

    def observer(replica: Replica, now: int, batch: Batch) -> None:
        nonlocal checked
        del batch
        engine = replica.engine
        decoding, step = engine.decoding.sequences(), engine.decoding.step
        contexts = [s.computed + step - s.join_step for s in decoding]
        left = sum(s.final_context - c for s, c in zip(decoding, contexts, strict=True))
        for sequence in (*engine.waiting, *engine.prefilling):
            left += sequence.prompt_tokens + sequence.output_tokens - sequence.target
        assert replica.remaining_output_tokens(now) == left
        assert replica.decode_context(now) == sum(contexts)
        assert replica.running_decodes() == len(decoding)
        checked += left > 0

    rng = np.random.default_rng(3)
    requests = [
        (i * 5000 * US, int(p), int(o))
        for i, (p, o) in enumerate(rng.integers(1, [120, 90], (120, 2)))
    ]
    preemptions = 0
    for swap in (0, 10):
        bounds = limits(num_blocks=30, swap_blocks=swap)
        plan = routed("oracle", 2, bounds=bounds)
        result = simulate_deployment(
            SCENARIO, plan, traffic(requests), fast_forward=False, observer=observer
        )
        preemptions += int(result.requests.preemptions.sum())
    assert preemptions > 20
    assert checked > 1000


def test_what_is_left_reaches_zero() -> None:
    replicas: list[Replica] = []

    def observer(replica: Replica, now: int, batch: Batch) -> None:
        del now, batch
        if replica not in replicas:
            replicas.append(replica)

    requests = [(i * 3000 * US, 50 + i, 5 + i) for i in range(60)]
    plan = routed("oracle", 2, bounds=limits(num_blocks=25))
    simulate_deployment(SCENARIO, plan, traffic(requests), observer=observer)
    assert len(replicas) == 2
    for replica in replicas:
        assert replica.remaining_output_tokens(10**18) == 0
        assert replica.decode_context(10**18) == 0
        assert replica.outstanding_requests() == 0
        assert replica.committed_blocks(10**18) == 0


def test_remaining_outputs_count_what_is_handed_over() -> None:
    """With pools, decode replicas owe all but the first token, also while the KV is on its way."""
    base = {"model": "llama-3.1-8b", "device": "h100-sxm"}
    scenario = build_scenario(
        {
            "workload": {
                "requests": {"sample": "chat"},
                "limit": {"requests": 200},
            },
            "clients": {
                "p": {**base, "serves": ["prefill"], "replicas": 2},
                "d": {**base, "serves": ["decode"], "replicas": 2},
            },
            "routing": {"d": "oracle"},
        }
    )
    decode: list[Replica] = []
    owed = []

    def observer(replica: Replica, now: int, batch: Batch) -> None:
        del batch
        if replica.index >= 2:
            owed.append(replica.remaining_output_tokens(now))
            if replica not in decode:
                decode.append(replica)

    requests = traffic([(i * 9000 * US, 700, 40) for i in range(200)])
    plan = resolve(scenario)
    log = simulate_deployment(scenario, plan, requests, observer=observer).requests
    assert len(decode) == 2
    assert max(owed) > 39
    assert all(replica.remaining_output_tokens(10**18) == 0 for replica in decode)
    assert (log.last_token > 0).all()


def test_old_signals_send_all_requests_of_an_interval_the_same_way() -> None:
    """Nothing that is sent is seen before the next reading."""
    requests = traffic([(i * 1000 * US, 100, 200) for i in range(100)])
    fresh = run("join_shortest_queue", requests, 4).replica
    old = {"policy": "join_shortest_queue", "signal_interval_ms": 20.0}
    seen = run(old, requests, 4).replica
    assert fresh.tolist() == [i % 4 for i in range(100)]
    assert seen[:20].tolist() == [0] * 20
    changes = np.flatnonzero(np.diff(seen)) + 1
    assert changes.tolist() == [20, 40, 60, 80]


def test_signals_one_tick_old_are_fresh_where_no_two_requests_share_a_tick() -> None:
    requests = traffic([(i * 7000 * US + 1, 200, 50) for i in range(80)])
    old = {"least_loaded": {}, "signal_interval_ms": 1e-9}
    assert plan_policy(RoutingBlock.model_validate(old), "").interval == 1
    assert run("least_loaded", requests, 3).replica.tolist() == (
        run(old, requests, 3).replica.tolist()
    )


def test_slower_signals_make_longer_waits() -> None:
    rng = np.random.default_rng(4)
    arrivals = np.cumsum(rng.exponential(9e9, 1500)).astype(np.int64)
    outputs = rng.geometric(0.01, 1500)
    rows = [(int(a), 200, int(o)) for a, o in zip(arrivals, outputs, strict=True)]
    requests = traffic(rows)
    means = []
    for interval in (0.0, 400.0, 3000.0):
        block = {"policy": "join_shortest_queue"}
        if interval:
            block["signal_interval_ms"] = interval
        log = run(block, requests, 8, bounds=limits(max_num_seqs=8))
        means.append(float((log.first_token - log.arrival).mean()))
    assert means[0] < means[1] < means[2]


def test_drain_prefers_the_faster_replica_when_both_idle() -> None:
    """Two clients of one model on different hardware share the stage."""
    base = {"model": "llama-3.1-8b", "replicas": 1}
    scenario = build_scenario(
        {
            "workload": {"requests": {"sample": "chat"}, "limit": {"requests": 40}},
            "clients": {
                "slow": {**base, "device": "l4", "max_model_len": 4096},
                "fast": {**base, "device": "h100-sxm", "max_model_len": 4096},
            },
            "routing": {"slow": "shortest_drain", "fast": "shortest_drain"},
        }
    )
    requests = traffic([(i * 30 * 10**12, 500, 20) for i in range(10)])
    log = simulate_deployment(scenario, resolve(scenario), requests).requests
    assert {log.replica_names[i] for i in log.replica} == {"fast/0"}
    other = scenario.model_copy(update={"routing": {}})
    log = simulate_deployment(other, resolve(other), requests).requests
    assert {log.replica_names[i] for i in log.replica} == {"slow/0"}


def test_a_plan_can_be_replaced_by_its_class() -> None:
    """Code that builds deployments may name a class where a plan stands."""
    plan = routed("round_robin", 2)
    route = RoutePlan(("chat",), ROUTING.find("round_robin", ""))
    direct = replace(plan, pipelines={"default": one_call(route)})
    requests = traffic([(i * US, 10, 3) for i in range(10)])
    logs = [simulate_deployment(SCENARIO, p, requests).requests for p in (plan, direct)]
    assert logs[0].replica.tolist() == logs[1].replica.tolist() == [i % 2 for i in range(10)]
