"""The fast replica equals the naive reference, to the tick, whatever the scenario."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hermes.costs.compiled import CompiledStepCost
from hermes.metrics.gaps import TokenGaps
from hermes.scenario.scenario import Scenario
from hermes.sim.engine import EngineLimits
from hermes.sim.simulation import simulate_deployment
from tests.oracle.reference import ROUTERS, ReferenceReplica, Request, run_reference
from tests.sim.deployments import US, deployment, linear, limits, workload

SCENARIO = Scenario.model_validate(
    {
        "workload": {"requests": {"sample": "chat"}},
        "clients": {"chat": {"model": "llama-3.1-8b", "device": "h100-sxm"}},
    }
)


def curved() -> CompiledStepCost:
    """A cost that bends with context, so that decode blocks cross segments."""

    def seconds(tokens: int, rows: int, pairs: float, keys: float) -> float:
        compute, memory = 2e-5 * tokens + 1e-9 * pairs + 1e-6 * rows, 4e-3 + 3e-8 * keys
        return (compute**2 + memory**2) ** 0.5

    return CompiledStepCost(seconds, "curved")


COSTS = {"linear": linear, "flat": lambda: linear(1000, 0, 0), "curved": curved}


def assert_equal_to_reference(
    requests: list[tuple[int, int, int]],
    batching: str,
    bounds: EngineLimits,
    cost: str = "linear",
    replicas: int = 1,
    routing: str = "least_loaded",
) -> None:
    plan = deployment(
        batching=batching, bounds=bounds, costs=COSTS[cost](), replicas=replicas, routing=routing
    )
    reference = [
        Request(i, arrival, prompt, output) for i, (arrival, prompt, output) in enumerate(requests)
    ]
    pool = [ReferenceReplica(bounds, batching, COSTS[cost]()) for _ in range(replicas)]
    run_reference(reference, pool, ROUTERS[routing]())
    expected = [
        (r.scheduled, r.token_times[0], r.token_times[-1], r.preemptions) for r in reference
    ]
    expected_gaps = sorted(
        later - earlier
        for r in reference
        for earlier, later in zip(r.token_times, r.token_times[1:], strict=False)
    )
    for fast_forward in (True, False):
        result = simulate_deployment(SCENARIO, plan, workload(requests), fast_forward)
        columns = result.requests
        actual = list(
            zip(
                columns.scheduled.tolist(),
                columns.first_token.tolist(),
                columns.last_token.tolist(),
                columns.preemptions.tolist(),
                strict=True,
            )
        )
        assert actual == expected, f"fast_forward={fast_forward}"
        assert result.summary["steps"] == sum(replica.steps for replica in pool)
        values, counts = TokenGaps.gathered(result.gaps)
        assert values.repeat(counts).tolist() == expected_gaps


@st.composite
def engine_limits(draw: st.DrawFn) -> EngineLimits:
    max_num_seqs = draw(st.integers(1, 12))
    return limits(
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_seqs + draw(st.sampled_from([0, 1, 3, 8, 40, 500])),
        block_size=draw(st.sampled_from([1, 2, 4, 16])),
        num_blocks=draw(st.sampled_from([1, 2, 4, 8, 16, 64, 1000])),
        watermark_blocks=draw(st.sampled_from([0, 0, 0, 1, 2])),
    )


@st.composite
def request_lists(draw: st.DrawFn, bounds: EngineLimits) -> list[tuple[int, int, int]]:
    room = bounds.num_blocks * bounds.block_size
    gaps = st.one_of(st.just(0), st.integers(0, 2000), st.integers(0, 60_000).map(lambda x: x * US))
    requests, now = [], 0
    for _ in range(draw(st.integers(1, 25))):
        now += draw(gaps)
        prompt = draw(st.integers(1, min(room, draw(st.sampled_from([3, 40, 900])))))
        longest = min(room - prompt + 1, draw(st.sampled_from([1, 5, 60, 400])))
        requests.append((now, prompt, draw(st.integers(1, longest))))
    return requests


ANY_HEALTH = list(HealthCheck)


@settings(max_examples=250, deadline=None, suppress_health_check=ANY_HEALTH)
@given(st.data())
@pytest.mark.parametrize("batching", ["chunked", "continuous"])
def test_random_scenarios_equal_the_reference(batching: str, data: st.DataObject) -> None:
    bounds = data.draw(engine_limits())
    assert_equal_to_reference(
        data.draw(request_lists(bounds)),
        batching,
        bounds,
        data.draw(st.sampled_from(sorted(COSTS))),
        data.draw(st.integers(1, 3)),
        data.draw(st.sampled_from(sorted(ROUTERS))),
    )


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None, suppress_health_check=ANY_HEALTH)
@given(st.data())
@pytest.mark.parametrize("batching", ["chunked", "continuous"])
def test_many_random_scenarios_equal_the_reference(batching: str, data: st.DataObject) -> None:
    bounds = data.draw(engine_limits())
    assert_equal_to_reference(
        data.draw(request_lists(bounds)),
        batching,
        bounds,
        data.draw(st.sampled_from(sorted(COSTS))),
        data.draw(st.integers(1, 3)),
        data.draw(st.sampled_from(sorted(ROUTERS))),
    )


@pytest.mark.parametrize("batching", ["chunked", "continuous"])
@pytest.mark.parametrize("cost", sorted(COSTS))
class TestNamedSituations:
    def test_a_single_request(self, batching: str, cost: str) -> None:
        assert_equal_to_reference([(0, 500, 100)], batching, limits(), cost)

    def test_a_burst_of_equal_requests(self, batching: str, cost: str) -> None:
        assert_equal_to_reference([(0, 300, 50)] * 40, batching, limits(max_num_seqs=16), cost)

    def test_one_token_outputs(self, batching: str, cost: str) -> None:
        assert_equal_to_reference([(i * US, 64, 1) for i in range(30)], batching, limits(), cost)

    def test_prompts_far_longer_than_the_budget(self, batching: str, cost: str) -> None:
        requests = [(0, 128_000, 5), (1, 10, 300), (2, 60_000, 2), (3, 10, 3)]
        assert_equal_to_reference(requests, batching, limits(max_num_batched_tokens=512), cost)

    def test_a_cache_so_small_that_everything_is_preempted(self, batching: str, cost: str) -> None:
        requests = [(i * 1000 * US, 30, 60) for i in range(20)]
        assert_equal_to_reference(requests, batching, limits(num_blocks=9), cost)

    def test_long_decodes_that_cross_cost_segments(self, batching: str, cost: str) -> None:
        requests = [(i * 5_000 * US, 200, 3000) for i in range(6)]
        assert_equal_to_reference(requests, batching, limits(), cost)


@example(0)
@example(1)
@given(st.integers(0, 12_000))
@settings(max_examples=60, deadline=None)
def test_an_arrival_anywhere_around_step_boundaries(offset: int) -> None:
    """Steps of 4,020 us and more: arrivals before, at and after each boundary, in ticks."""
    requests = [(0, 16, 40), (offset * US + offset % 3 - 1 if offset else 0, 16, 5)]
    assert_equal_to_reference(requests, "chunked", limits())
