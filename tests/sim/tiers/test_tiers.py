"""KV from tiers: when it is there, what it costs to fetch, and that nothing is lost on the way."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from hermes.errors import SimulationError
from hermes.metrics import PARTS
from hermes.scenario import build_scenario
from hermes.sim import simulate
from hermes.sim.deployment import Deployment
from hermes.sim.simulation import SimulationResult, simulate_deployment
from hermes.workload import Prefixes, Workload
from tests.sim.deployments import US, limits, linear, workload
from tests.sim.test_against_oracle import SCENARIO, cases
from tests.sim.tiers.deployments import TOKEN_BYTES, tiered

SECOND = 10**12
FAR = {"far": {"shared_by": "all", "bandwidth_gb_per_s": 1.0, "link_gb_per_s": 1000.0}}
"""A store that gives a byte a nanosecond, at once."""
NO_HBM = limits(enable_prefix_caching=False)


def run(
    plan: Deployment, requests, ids=None, block_tokens: int = 16, **options
) -> SimulationResult:
    prefixes = None if ids is None else Prefixes(block_tokens, tuple(map(tuple, ids)))
    traffic = workload(requests, prefixes=prefixes)
    return simulate_deployment(SCENARIO, plan, traffic, check=True, **options)


def twice(prompt: int = 1000, gap: int = SECOND):
    """Two requests with one prompt, the second long after the first."""
    ids = list(range(prompt // 16))
    return [(0, prompt, 1), (gap, prompt, 1)], [ids, ids]


def test_a_prompt_found_in_a_tier_is_fetched_and_its_rest_computed() -> None:
    plan = tiered(FAR, bounds=NO_HBM, costs=linear(1000, 10, 0))
    result = run(plan, *twice())
    first, second = (result.requests.last_token - result.requests.arrival).tolist()
    assert first == (1000 + 1000 * 10) * US
    known = 992  # 62 blocks of 16; the last token's block is never asked for
    transfer = known * TOKEN_BYTES * 1000 + known * TOKEN_BYTES
    assert transfer - first < second - (1000 + 8 * 10) * US <= transfer
    (tier,) = result.tiers
    assert (tier.hit_tokens, tier.missed_tokens) == (known, 992)
    assert tier.bytes_read == known * TOKEN_BYTES
    assert tier.bytes_written == tier.used_bytes == 62 * 16 * TOKEN_BYTES


def test_retrieval_takes_latency_and_bytes_over_the_narrowest_link() -> None:
    tier = {"shared_by": "replica", "bandwidth_gb_per_s": 2.0, "latency_us": 100.0}
    link = {"link_gb_per_s": 1.0, "link_latency_us": 40.0}
    for transfer, ticks_a_byte in (("streamed", 1000), ("staged", 1500)):
        plan = tiered(
            {"own": {**tier, **link, "transfer": transfer}},
            bounds=NO_HBM,
            costs=linear(1000, 10, 0),
        )
        result = run(plan, *twice())
        latency = int(result.requests.last_token[1] - result.requests.arrival[1])
        moved = 140 * US + 992 * TOKEN_BYTES * ticks_a_byte
        assert latency == moved + (1000 + 8 * 10) * US


def test_layer_by_layer_the_step_takes_as_long_as_the_slower_of_the_two() -> None:
    step = (1000 + 8 * 10) * US
    for gb_per_s in (0.5, 1.0, 100.0):
        tier = {"shared_by": "replica", "bandwidth_gb_per_s": gb_per_s, "link_gb_per_s": 1e6}
        plan = tiered(
            {"own": tier}, {"load": "layerwise"}, bounds=NO_HBM, costs=linear(1000, 10, 0)
        )
        result = run(plan, *twice())
        moved = round(992 * TOKEN_BYTES * 1000 / gb_per_s)
        expected = max(step + -(-moved // 4), moved + -(-step // 4))
        latency = int(result.requests.last_token[1] - result.requests.arrival[1])
        assert latency == pytest.approx(expected, abs=2)


def test_who_waits_for_kv_does_not_hold_up_those_behind() -> None:
    slow = {"far": {"shared_by": "all", "bandwidth_gb_per_s": 0.001, "link_gb_per_s": 1.0}}
    plan = tiered(slow, bounds=NO_HBM, costs=linear(1000, 10, 0))
    ids = list(range(62))
    requests = [(0, 1000, 1), (3 * SECOND, 1000, 1), (3 * SECOND + 1, 100, 1)]
    result = run(plan, requests, [ids, ids, range(900, 906)])
    last = result.requests.last_token.tolist()
    assert last[2] - requests[2][0] < SECOND
    assert last[1] - requests[1][0] > 992 * TOKEN_BYTES * 1_000_000  # its own, at 1 MB/s


def test_loads_share_the_bandwidth_of_the_store() -> None:
    plan = tiered(FAR, bounds=NO_HBM, costs=linear(0, 0, 0))
    ids = list(range(62))
    requests = [(0, 1000, 1), (SECOND, 1000, 1), (SECOND, 1000, 1)]
    ends = {}
    for contention in (True, False):
        shared = replace(plan, topology=replace(plan.topology, contention=contention))
        columns = run(shared, requests, [ids] * 3).requests
        ends[contention] = (columns.last_token - columns.arrival).tolist()[1:]
    alone = 992 * TOKEN_BYTES * 1000
    assert ends[False] == [alone, alone]
    assert ends[True] == [2 * alone, 2 * alone]


def test_the_device_cache_comes_first_and_the_tiers_go_on_from_there() -> None:
    near = {"shared_by": "all", "bandwidth_gb_per_s": 1000.0, "link_gb_per_s": 1000.0}
    small = {**near, "capacity_gb": 40 * 16 * TOKEN_BYTES / 1e9}
    plan = tiered({"near": small, "far": near}, bounds=limits(num_blocks=90), costs=linear(0, 1, 0))
    ids, others = list(range(80)), list(range(500, 570))
    result = run(plan, [(0, 1281, 1), (SECOND, 1121, 1), (2 * SECOND, 1281, 1)], [ids, others, ids])
    near_use, far_use = result.tiers
    found = near_use.hit_tokens + far_use.hit_tokens
    kept = 20 * 16  # of 90 blocks, 71 were taken for the second prompt; the last one is no prefix
    assert found + kept - 1280 in {0, 16, -16}
    assert near_use.peak_bytes <= small["capacity_gb"] * 1e9
    assert near_use.evictions > 0
    assert far_use.evictions == 0


POLICY = st.fixed_dictionaries(
    {
        "fetch": st.sampled_from(["always", "always", "cheaper"]),
        "load": st.sampled_from(["whole", "whole", "layerwise"]),
        "write_back": st.sampled_from(["finish", "finish", "evict"]),
    }
)
TIER = st.fixed_dictionaries(
    {
        "shared_by": st.sampled_from(["replica", "node", "all"]),
        "bandwidth_gb_per_s": st.sampled_from([0.01, 0.1, 1.0, 1e6]),
        "latency_us": st.sampled_from([0.0, 30.0, 5000.0]),
        "capacity_gb": st.sampled_from([3e-4, 1e-3, 1.0]),
        "eviction": st.sampled_from(["lru", "s3fifo"]),
        "transfer": st.sampled_from(["streamed", "staged"]),
    },
    optional={"link_gb_per_s": st.sampled_from([0.01, 10.0])},
)
BOUNDS = st.fixed_dictionaries(
    {
        "num_blocks": st.sampled_from([45, 60, 100, 1000]),
        "max_num_seqs": st.sampled_from([2, 4, 16]),
        "max_num_batched_tokens": st.sampled_from([64, 256, 2048]),
        "enable_prefix_caching": st.booleans(),
        "watermark_blocks": st.sampled_from([0, 0, 3]),
        "swap_blocks": st.sampled_from([0, 0, 30]),
    }
)
REQUEST = st.tuples(
    st.sampled_from([0, 1000, 30_000, 200_000]),  # us after the one before
    st.integers(0, 2),  # document
    st.integers(0, 20),  # blocks of it
    st.integers(1, 60),  # tokens after those
    st.integers(1, 80),  # output
)


def shared_documents(drawn: list[tuple[int, int, int, int, int]]) -> Workload:
    """Return requests that begin like one of three documents."""
    requests, ids, now = [], [], 0
    for number, (gap, document, shared, own, output) in enumerate(drawn):
        now += gap * US
        requests.append((now, 16 * shared + own, output))
        head = [1000 * document + block for block in range(shared)]
        ids.append((*head, *(10**6 * (number + 1) + n for n in range(own // 16))))
    return workload(requests, prefixes=Prefixes(16, tuple(ids)))


@pytest.mark.parametrize("batching", ["chunked", "continuous", "mixed", "static"])
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_random_deployments_keep_the_laws_whatever_steps_are_taken_together(
    batching: str, data: st.DataObject
) -> None:
    assert_lawful(batching, data)


@pytest.mark.slow
@pytest.mark.parametrize("batching", ["chunked", "continuous", "mixed", "static"])
@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_many_random_deployments_keep_the_laws(batching: str, data: st.DataObject) -> None:
    assert_lawful(batching, data)


def assert_lawful(batching: str, data: st.DataObject) -> None:
    """Every request ends, capacities hold, bytes are conserved; grouping steps changes nothing."""
    policy, bounds = data.draw(POLICY), limits(**data.draw(BOUNDS))
    tiers = data.draw(st.lists(TIER, min_size=1, max_size=2))
    if policy["load"] == "whole":
        bounds = replace(bounds, reserve_full_prompt=data.draw(st.booleans()))
    if batching == "chunked":
        bounds = replace(bounds, prefill_schedule_interval=data.draw(st.sampled_from([1, 1, 3])))
    plan = tiered(
        {f"t{n}": tier for n, tier in enumerate(tiers)},
        policy,
        {"devices_per_node": 2},
        bounds=bounds,
        batching=batching,
        replicas=data.draw(st.sampled_from([1, 1, 2])),
        routing="round_robin",
        order=data.draw(st.sampled_from(["fcfs", "shortest_prompt"])),
    )
    traffic = shared_documents(data.draw(st.lists(REQUEST, min_size=5, max_size=30)))
    try:
        results = [
            simulate_deployment(SCENARIO, plan, traffic, fast_forward, check=True)
            for fast_forward in (True, False)
        ]
    except SimulationError as error:
        if "preempt each other in turn, for ever" not in str(error):  # without reserve_full_prompt
            raise
        reject()
    assert_laws(plan, results[0])
    one, other = results
    assert one.requests.last_token.tolist() == other.requests.last_token.tolist()
    assert one.requests.first_token.tolist() == other.requests.first_token.tolist()
    assert one.tiers == other.tiers


def assert_laws(plan: Deployment, result: SimulationResult) -> None:
    requests = result.requests
    ended = requests.completed.tolist()
    assert all(done or reason for done, reason in zip(ended, requests.reason, strict=True))
    carried = {use.link.name: use.bytes for use in result.links}
    for tier, instance in zip(result.tiers, plan.tiers.instances, strict=True):
        assert tier.peak_bytes <= (tier.capacity_bytes or tier.peak_bytes)
        assert carried[instance.name] == tier.bytes_read + tier.bytes_written
        assert tier.used_bytes <= tier.bytes_written
    if plan.clients[0].kv.fetch == "always":
        hits = sum(tier.hit_tokens for tier in result.tiers)
        assert hits * TOKEN_BYTES == sum(tier.bytes_read for tier in result.tiers)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_never_fetching_nor_writing_is_to_have_no_tiers(data: st.DataObject) -> None:
    case = data.draw(cases("chunked"))
    policy = {"fetch": "never", "write_back": data.draw(st.sampled_from(["never", "finish"]))}
    plan = tiered(FAR, policy, bounds=case.bounds, order=case.order)
    without = replace(plan, clients=(replace(plan.clients[0], kv=None),), tiers=type(plan.tiers)())
    traffic = workload(case.requests, case.priority, case.prefixes)
    one, other = (
        simulate_deployment(SCENARIO, which, traffic, check=True) for which in (plan, without)
    )
    assert one.summary == other.summary
    for column in ("scheduled", "first_token", "last_token", "preemptions"):
        assert getattr(one.requests, column).tolist() == getattr(other.requests, column).tolist()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 12), st.integers(1, 40)),
        min_size=1,
        max_size=25,
    )
)
def test_an_instant_tier_without_limit_hits_like_an_endless_device_cache(drawn) -> None:
    instant = {"t": {"shared_by": "all", "bandwidth_gb_per_s": 1e15, "link_gb_per_s": 1e15}}
    requests, ids = [], []
    for number, (document, shared, own) in enumerate(drawn):
        prompt = 16 * shared + own
        requests.append((number * SECOND, prompt, 1))
        head = [1000 * document + block for block in range(shared)]
        ids.append(head + [10**6 * (number + 1) + n for n in range(own // 16)])
    with_tier = run(tiered(instant, bounds=NO_HBM), requests, ids)
    (tier,) = with_tier.tiers
    endless = tiered(instant, {"fetch": "never", "write_back": "never"}, bounds=limits())
    counted = []
    run(
        endless,
        requests,
        ids,
        observer=lambda replica, now, batch: counted.extend(
            sequence.reused_tokens for sequence, _ in batch.prefills
        ),
    )
    assert tier.hit_tokens == sum(counted)


def test_fetching_only_what_is_cheaper_computes_what_is_near_for_free() -> None:
    slow = {"far": {"shared_by": "all", "bandwidth_gb_per_s": 0.001, "link_gb_per_s": 1.0}}
    fast = {"far": {"shared_by": "all", "bandwidth_gb_per_s": 100.0, "link_gb_per_s": 100.0}}
    read = {}
    for name, tiers in (("slow", slow), ("fast", fast)):
        plan = tiered(tiers, {"fetch": "cheaper"}, bounds=NO_HBM, costs=linear(1000, 10, 0))
        read[name] = run(plan, *twice(gap=5 * SECOND)).tiers[0].bytes_read
    assert read == {"slow": 0, "fast": 992 * TOKEN_BYTES}


def test_under_load_what_was_cheaper_no_longer_is() -> None:
    store = {"far": {"shared_by": "all", "bandwidth_gb_per_s": 0.2, "link_gb_per_s": 100.0}}
    plan = tiered(store, {"fetch": "cheaper"}, bounds=NO_HBM, costs=linear(1000, 10, 0))
    ids = list(range(62))
    many = [(0, 1000, 1)] + [(SECOND, 1000, 1)] * 8
    (tier,) = run(plan, many, [ids] * 9).tiers
    assert 0 < tier.bytes_read < 8 * 992 * TOKEN_BYTES  # alone 5 ms, against 11 ms of computing


@pytest.mark.parametrize("load", ["whole", "layerwise"])
def test_the_breakdown_tells_retrieval_apart_and_adds_up(load: str) -> None:
    plan = tiered(FAR, {"load": load}, bounds=NO_HBM, costs=linear(100, 0.1, 0))
    columns = run(plan, *twice()).requests
    stages = columns.stages
    first, second = (
        {part: int(stages.of_requests(part, 2)[request]) for part in PARTS} for request in (0, 1)
    )
    assert first["retrieval"] == 0
    assert second["queue"] == 0
    computed = round((100 + 8 * 0.1) * US)
    assert second["compute"] == computed
    moved = 992 * TOKEN_BYTES * 1000
    waited = moved if load == "whole" else moved + -(-computed // 4) - computed
    assert second["retrieval"] == pytest.approx(waited, abs=2000)
    assert sum(second.values()) == int(columns.finished[1] - columns.arrival[1])
    assert columns.fetched_tokens.tolist() == [0, 992]
    assert columns.reused_tokens.tolist() == [0, 0]


def test_what_device_memory_gives_up_goes_to_the_nearest_tier_and_comes_back() -> None:
    tiers = {"near": FAR["far"], "far": FAR["far"]}
    plan = tiered(tiers, {"write_back": "evict"}, bounds=limits(num_blocks=70))
    ids, others = list(range(62)), list(range(500, 562))
    requests = [(0, 1000, 1), (SECOND, 1000, 1), (2 * SECOND, 1000, 1)]
    result = run(plan, requests, [ids, others, ids])
    near, far = result.tiers
    assert near.bytes_written > 0
    assert far.bytes_written == 0
    kept = int(result.requests.reused_tokens[2])
    assert kept + int(result.requests.fetched_tokens[2]) == 992
    assert near.hit_tokens > 40 * 16


def test_stages_of_a_pipeline_in_flight_share_one_queue_of_loads() -> None:
    mapping = {
        "workload": {
            "requests": {
                "prefix_repetition": {
                    "prefix_tokens": 2048,
                    "suffix_tokens": 100,
                    "num_prefixes": 3,
                    "output_tokens": 20,
                }
            },
            "arrivals": {"process": "poisson", "rate_per_s": 30},
            "limit": {"requests": 120},
        },
        "topology": {"tiers": {"host": {"medium": "ddr5-host", "capacity_gb": 2.0}}},
        "clients": {
            "chat": {
                "model": "llama-3.1-8b",
                "device": "h100-sxm",
                "pipeline_parallel_size": 2,
                "num_gpu_blocks_override": 400,
                "enable_prefix_caching": False,
                "max_model_len": 4096,
                "kv_tiers": ["host"],
            }
        },
    }
    result = simulate(build_scenario(mapping), check=True)
    assert result.summary["completed"] == 120
    assert result.tiers[0].hit_tokens > 60 * 2048


def test_the_examples_of_the_page_are_scenarios() -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "kv-tiers.md"
    first, second = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    mapping = yaml.safe_load(first)
    mapping["workload"] = {"requests": {"sample": "chat"}, "limit": {"requests": 5}}
    assert simulate(build_scenario(mapping)).summary["completed"] == 5
    mapping |= yaml.safe_load(second)
    assert simulate(build_scenario(mapping)).summary["completed"] == 5
