"""The fast replica equals the naive reference, to the tick, whatever the scenario."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, example, given, reject, settings
from hypothesis import strategies as st

from hermes.costs.compiled import CompiledStepCost
from hermes.costs.provenance import Part, StepShape
from hermes.costs.step import Spread
from hermes.metrics.gaps import TokenGaps
from hermes.scenario.scenario import Scenario
from hermes.scenario.units import seconds_to_ticks
from hermes.sim.deployment import Deployment
from hermes.sim.limits import EngineLimits
from hermes.sim.simulation import simulate_deployment
from hermes.workload import Prefixes
from tests.oracle.drafts import Drafts
from tests.oracle.reference import (
    ROUTERS,
    NeverEndsError,
    ReferenceReplica,
    Request,
    run_reference,
)
from tests.sim.deployments import US, deployment, limits, linear, workload

SCENARIO = Scenario.model_validate(
    {
        "workload": {"requests": {"sample": "chat"}},
        "clients": {"chat": {"model": "llama-3.1-8b", "device": "h100-sxm"}},
        "slo": {"ttft_ms": 100},
    }
)
TTFT_TICKS = 100 * 10**9
BATCHING = ("chunked", "continuous", "mixed", "static")
ORDERS = ("fcfs", "priority", "shortest_prompt", "least_work_left", "edf")


class Curved:
    """A cost that bends with context, so that decode blocks cross segments."""

    label = "curved"
    spread = Spread(0.0, 0.0)

    def token_seconds(self, tokens: int) -> float:
        return 2e-5 * tokens

    def row_seconds(self, rows: int) -> float:
        return 1e-6 * rows

    def decode_seconds(self, sequences: int, keys: int) -> float:
        return ((1e-5 * sequences) ** 2 + (4e-3 + 3e-8 * keys) ** 2) ** 0.5

    def prefill_seconds(self, tokens: int, keys: int, pairs: int) -> float:
        return ((1e-9 * pairs) ** 2 + (3e-8 * keys) ** 2) ** 0.5

    def parts(self, shape: StepShape) -> tuple[Part, ...]:
        return (Part("step", "given", 1e-3 * (shape.decodes + shape.prefill_tokens)),)


def curved() -> CompiledStepCost:
    return CompiledStepCost(Curved())


COSTS = {"linear": linear, "flat": lambda: linear(1000, 0, 0), "curved": curved}


@dataclass(frozen=True)
class Case:
    """Requests as (arrival, prompt, output), and everything that decides how they are served."""

    requests: list[tuple[int, int, int]]
    bounds: EngineLimits
    batching: str = "chunked"
    cost: str = "linear"
    replicas: int = 1
    routing: str = "least_loaded"
    order: str = "fcfs"
    priority: tuple[int, ...] | None = None
    prefixes: Prefixes | None = None

    def unserved(self) -> list[Request]:
        """Return the requests as the reference takes them."""
        return [
            Request(
                i,
                arrival,
                prompt,
                output,
                prefix=self.prefix(i, prompt),
                priority=self.priority[i] if self.priority else 0,
                deadline=arrival + TTFT_TICKS,
            )
            for i, (arrival, prompt, output) in enumerate(self.requests)
        ]

    def reference(self) -> tuple[list[Request], int]:
        """Return the requests as the reference serves them, and its steps."""
        requests = self.unserved()
        pool = [
            ReferenceReplica(
                self.bounds,
                self.batching,
                COSTS[self.cost](),
                self.order,
                lambda tokens: seconds_to_ticks(tokens * 2e-6),
                self.drafts(number),
            )
            for number in range(self.replicas)
        ]
        run_reference(requests, pool, ROUTERS[self.routing]())
        return requests, sum(replica.steps for replica in pool)

    def prefix(self, request: int, prompt: int) -> tuple[int, ...]:
        if self.prefixes is None:
            return ()
        return self.prefixes.keys(request, prompt, self.bounds.block_size)

    def drafts(self, replica: int) -> Drafts | None:
        del replica
        return None

    def deployment(self) -> Deployment:
        return deployment(
            batching=self.batching,
            bounds=self.bounds,
            costs=COSTS[self.cost](),
            replicas=self.replicas,
            routing=self.routing,
            order=self.order,
        )

    def simulated(self, fast_forward: bool):
        plan = self.deployment()
        traffic = workload(self.requests, self.priority, self.prefixes)
        return simulate_deployment(SCENARIO, plan, traffic, fast_forward, check=True)


def assert_equal_to_reference(case: Case) -> None:
    try:
        reference, steps = case.reference()
    except NeverEndsError:
        reject()
    expected = [
        (r.scheduled, r.token_times[0], r.token_times[-1], r.preemptions) for r in reference
    ]
    expected_gaps = sorted(
        later - earlier
        for r in reference
        for earlier, later in zip(r.token_times, r.token_times[1:], strict=False)
    )
    for fast_forward in (True, False):
        result = case.simulated(fast_forward)
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
        assert result.summary["steps"] == steps
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
        reserve_full_prompt=draw(st.sampled_from([True, True, False])),
        enable_prefix_caching=draw(st.booleans()),
        swap_blocks=draw(st.sampled_from([0, 0, 5, 1000])),
    )


@st.composite
def cases(draw: st.DrawFn, batching: str) -> Case:
    bounds = draw(engine_limits())
    if batching == "chunked":
        interval = draw(st.sampled_from([1, 1, 2, 3, 8]))
        bounds = replace(bounds, prefill_schedule_interval=interval)
    room = bounds.num_blocks * bounds.block_size
    gaps = st.one_of(st.just(0), st.integers(0, 2000), st.integers(0, 60_000).map(lambda x: x * US))
    requests, now = [], 0
    for _ in range(draw(st.integers(1, 25))):
        now += draw(gaps)
        prompt = draw(st.integers(1, min(room, draw(st.sampled_from([3, 40, 900])))))
        longest = min(room - prompt + 1, draw(st.sampled_from([1, 5, 60, 400])))
        requests.append((now, prompt, draw(st.integers(1, longest))))
    priority = draw(st.none() | st.tuples(*[st.integers(-1, 2)] * len(requests)))
    return Case(
        requests,
        bounds,
        batching,
        draw(st.sampled_from(sorted(COSTS))),
        draw(st.integers(1, 3)),
        draw(st.sampled_from(sorted(ROUTERS))),
        draw(st.sampled_from(ORDERS)),
        priority,
        draw(st.none() | prefixes(requests, bounds.block_size)),
    )


@st.composite
def prefixes(draw: st.DrawFn, requests: list[tuple[int, int, int]], block_size: int) -> Prefixes:
    """Prompts that begin like one of three documents, for a while, and then go their own way."""
    block_tokens = block_size * draw(st.sampled_from([1, 4]))
    ids = []
    for request, (_, prompt, _) in enumerate(requests):
        full = prompt // block_tokens
        shared = draw(st.integers(0, full))
        document = draw(st.integers(0, 2))
        head = [1000 * document + i for i in range(shared)]
        ids.append((*head, *(100_000 * (request + 1) + i for i in range(shared, full))))
    return Prefixes(block_tokens, tuple(ids))


ANY_HEALTH = list(HealthCheck)


@pytest.mark.parametrize("batching", BATCHING)
@settings(max_examples=40, deadline=None, suppress_health_check=ANY_HEALTH)
@given(st.data())
def test_random_scenarios_equal_the_reference(batching: str, data: st.DataObject) -> None:
    assert_equal_to_reference(data.draw(cases(batching)))


@pytest.mark.slow
@pytest.mark.parametrize("batching", BATCHING)
@settings(max_examples=5_000, deadline=None, suppress_health_check=ANY_HEALTH)
@given(st.data())
def test_many_random_scenarios_equal_the_reference(batching: str, data: st.DataObject) -> None:
    assert_equal_to_reference(data.draw(cases(batching)))


@pytest.mark.parametrize("batching", BATCHING)
@pytest.mark.parametrize("cost", sorted(COSTS))
class TestNamedSituations:
    def check(self, requests, batching: str, cost: str, **bounds: int) -> None:
        assert_equal_to_reference(Case(requests, limits(**bounds), batching, cost))

    def test_a_single_request(self, batching: str, cost: str) -> None:
        self.check([(0, 500, 100)], batching, cost)

    def test_a_burst_of_equal_requests(self, batching: str, cost: str) -> None:
        self.check([(0, 300, 50)] * 40, batching, cost, max_num_seqs=16)

    def test_one_token_outputs(self, batching: str, cost: str) -> None:
        self.check([(i * US, 64, 1) for i in range(30)], batching, cost)

    def test_prompts_far_longer_than_the_budget(self, batching: str, cost: str) -> None:
        requests = [(0, 128_000, 5), (1, 10, 300), (2, 60_000, 2), (3, 10, 3)]
        self.check(requests, batching, cost, max_num_batched_tokens=512)

    @pytest.mark.parametrize("swap_blocks", [0, 4, 1000])
    def test_a_tiny_cache(self, batching: str, cost: str, swap_blocks: int) -> None:
        requests = [(i * 1000 * US, 30, 60) for i in range(20)]
        self.check(requests, batching, cost, num_blocks=9, swap_blocks=swap_blocks)

    def test_long_decodes_that_cross_cost_segments(self, batching: str, cost: str) -> None:
        self.check([(i * 5_000 * US, 200, 3000) for i in range(2)], batching, cost)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("batching", BATCHING)
def test_queue_orders_under_pressure(order: str, batching: str) -> None:
    requests = [(i * 500 * US, 10 + 37 * i % 90, 20 + 11 * i % 50) for i in range(40)]
    priority = tuple(i * 7 % 3 for i in range(40))
    case = Case(requests, limits(num_blocks=14), batching, order=order, priority=priority)
    assert_equal_to_reference(case)


def test_priorities_decide_who_is_served_first() -> None:
    requests = [(0, 100, 20)] * 6
    bounds = limits(max_num_seqs=1)
    case = Case(requests, bounds, order="priority", priority=(5, 4, 3, 2, 1, 0))
    finished = case.simulated(True).requests.last_token.tolist()
    assert finished == sorted(finished, reverse=True)


def test_a_shared_prefix_is_computed_once_while_it_stays_cached() -> None:
    requests = [(i * 10**12, 1600, 5) for i in range(4)]
    shared = Prefixes(16, (tuple(range(100)),) * 4)
    case = Case(requests, limits(), prefixes=shared)
    assert_equal_to_reference(case)
    cold, *warm = (case.simulated(True).requests.first_token - [r[0] for r in requests]).tolist()
    # 1,600 tokens at 20 us each against the last block's 16: all but the last token can be found
    assert cold == (4000 + 1600 * 20) * US
    assert set(warm) == {(4000 + 16 * 20) * US + 1584 * 8 * 1000}
    nothing_kept = replace(case, bounds=limits(enable_prefix_caching=False))
    assert len(set((nothing_kept.simulated(True).requests.first_token % 10**12).tolist())) == 1


@example(0)
@example(1)
@given(st.integers(0, 12_000))
@settings(max_examples=60, deadline=None)
def test_an_arrival_anywhere_around_step_boundaries(offset: int) -> None:
    """Steps of 4,020 us and more: arrivals before, at and after each boundary, in ticks."""
    requests = [(0, 16, 40), (offset * US + offset % 3 - 1 if offset else 0, 16, 5)]
    assert_equal_to_reference(Case(requests, limits()))
