"""Speculative decoding: equal to the naive reference, to the mean of its acceptance, to vLLM."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes.costs.speculation import DraftModelCost, FixedDraftCost, VerifyCost
from hermes.scenario.speculation import SpeculativeSpec
from hermes.sim.deployment import Deployment
from hermes.sim.simulation import simulate_deployment
from hermes.sim.speculation.acceptance import mean_gain
from hermes.sim.speculation.plan import SpeculationPlan
from hermes.workload.streams import stream
from tests.oracle.drafts import Drafts
from tests.oracle.reference import ROUTERS, ReferenceReplica, Request, run_reference_pools
from tests.sim.deployments import US, limits, linear, workload
from tests.sim.test_against_oracle import (
    ANY_HEALTH,
    BATCHING,
    COSTS,
    SCENARIO,
    Case,
    assert_equal_to_reference,
    cases,
)
from tests.sim.test_disaggregation import client, pools

DRAFT_US = 300


@dataclass(frozen=True)
class DraftCase(Case):
    """A case whose decodes verify as many drafts as its bounds say."""

    rate: float = 0.7
    sampled: bool = False
    draft_model: bool = False

    def drafts(self, replica: int, client: str = "chat") -> Drafts:
        """The reference's own, with naive draws from the stream that the replica has."""
        count = self.bounds.num_drafts
        rng = stream(SCENARIO.seed, "speculation", client, str(replica))

        def accepted(request: Request, drafts: int) -> int:
            draw = rng.random()
            return sum(draw < math.prod([self.rate] * (i + 1)) for i in range(drafts))

        return Drafts(
            mean=sum(Fraction(str(self.rate)) ** i for i in range(count + 1)),
            accepted=accepted if self.sampled else None,
            draft_ticks=0 if self.draft_model else DRAFT_US * US,
            draft_costs=small() if self.draft_model else None,
            passes=count,
        )

    def deployment(self) -> Deployment:
        plan = super().deployment()
        drafts = self.bounds.num_drafts
        spec = SpeculativeSpec(
            num_speculative_tokens=drafts,
            acceptance_rate=self.rate,
            mode="sampled" if self.sampled else "expected",
        )
        model, time = DraftModelCost(small(), drafts), FixedDraftCost(DRAFT_US * US)
        verify = VerifyCost(COSTS[self.cost](), model if self.draft_model else time)
        drafting = replace(plan.clients[0], speculation=SpeculationPlan(spec, verify))
        return replace(plan, clients=(drafting,))


def small():
    return linear(500, 2, 1)


@st.composite
def draft_cases(draw: st.DrawFn, batching: str) -> DraftCase:
    case = draw(cases(batching))
    drafts, sampled = draw(st.integers(1, 5)), draw(st.booleans())
    lookahead = draw(st.sampled_from([0, drafts]))
    budget = case.bounds.max_num_batched_tokens
    if not sampled or batching == "mixed":
        budget = max(budget, case.bounds.max_num_seqs * (1 + drafts))
    longest = max(prompt + output for _, prompt, output in case.requests)
    bounds = replace(
        case.bounds,
        num_drafts=drafts,
        lookahead=lookahead,
        uniform_drafts=not sampled,
        max_num_batched_tokens=budget,
        num_blocks=case.bounds.num_blocks + draw(st.sampled_from([0, 1, 10])),
        max_model_len=draw(st.sampled_from([10**9, longest, longest + 1, longest + 5])),
    )
    # what is longer than the cache with its drafts is refused, which the reference does not do
    room = bounds.num_blocks * bounds.block_size
    fits = [
        min(p + o - 1 + drafts + lookahead, bounds.max_model_len) <= room
        for _, p, o in case.requests
    ]
    if not all(fits):
        extra = -(-(longest + drafts + lookahead) // bounds.block_size)
        bounds = replace(bounds, num_blocks=extra)
    return DraftCase(
        **{name: getattr(case, name) for name in case.__dataclass_fields__} | {"bounds": bounds},
        rate=draw(st.sampled_from([0.0, 0.3, 0.5, 0.7, 0.95, 1.0])),
        sampled=sampled,
        draft_model=draw(st.booleans()),
    )


@pytest.mark.parametrize("batching", BATCHING)
@settings(max_examples=40, deadline=None, suppress_health_check=ANY_HEALTH)
@given(st.data())
def test_random_scenarios_equal_the_reference(batching: str, data: st.DataObject) -> None:
    assert_equal_to_reference(data.draw(draft_cases(batching)))


@pytest.mark.slow
@pytest.mark.parametrize("batching", BATCHING)
@settings(max_examples=5_000, deadline=None, suppress_health_check=ANY_HEALTH)
@given(st.data())
def test_many_random_scenarios_equal_the_reference(batching: str, data: st.DataObject) -> None:
    assert_equal_to_reference(data.draw(draft_cases(batching)))


@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("batching", BATCHING)
class TestNamedSituations:
    def check(self, requests, batching: str, sampled: bool, **bounds: int) -> None:
        most = {"num_drafts": 3, "uniform_drafts": not sampled}
        case = DraftCase(requests, limits(**(most | bounds)), batching, "curved", sampled=sampled)
        assert_equal_to_reference(case)

    def test_a_single_request(self, batching: str, sampled: bool) -> None:
        self.check([(0, 500, 100)], batching, sampled)

    def test_a_burst_of_equal_requests(self, batching: str, sampled: bool) -> None:
        self.check([(0, 300, 50)] * 40, batching, sampled, max_num_seqs=16)

    def test_one_token_prompts_and_outputs(self, batching: str, sampled: bool) -> None:
        requests = [(i * 9000 * US, 1 + i % 2, 1 + i % 3) for i in range(30)]
        self.check(requests, batching, sampled, max_num_seqs=16, max_num_batched_tokens=64)

    @pytest.mark.parametrize("swap_blocks", [0, 4, 1000])
    def test_a_tiny_cache(self, batching: str, sampled: bool, swap_blocks: int) -> None:
        requests = [(i * 1000 * US, 30, 60) for i in range(20)]
        self.check(requests, batching, sampled, num_blocks=10, swap_blocks=swap_blocks, lookahead=3)

    def test_requests_that_end_at_the_longest_context(self, batching: str, sampled: bool) -> None:
        requests = [(i * 50_000 * US, 60 + i, 40 - i) for i in range(12)]
        bounds = {"max_model_len": 100, "num_blocks": 4 * 25, "block_size": 1}
        for lookahead in (0, 3):
            self.check(requests, batching, sampled, lookahead=lookahead, **bounds)

    def test_long_decodes_that_cross_cost_segments(self, batching: str, sampled: bool) -> None:
        self.check([(i * 5_000 * US, 200, 2000) for i in range(4)], batching, sampled)


def test_a_tight_budget_cuts_sampled_drafts() -> None:
    bounds = limits(num_drafts=3, uniform_drafts=False, max_num_seqs=8, max_num_batched_tokens=13)
    requests = [(i * 2000 * US, 20, 30) for i in range(16)]
    assert_equal_to_reference(DraftCase(requests, bounds, sampled=True))


@pytest.mark.parametrize("sampled", [False, True])
def test_with_nothing_accepted_only_the_costs_differ(sampled: bool) -> None:
    requests = [(i * 40_000 * US, 50 + 31 * i % 400, 1 + 17 * i % 90) for i in range(60)]
    plain = Case(requests, limits(max_num_seqs=9), cost="flat")
    drafted = DraftCase(
        requests,
        limits(max_num_seqs=9, num_drafts=4, uniform_drafts=not sampled),
        cost="flat",
        rate=0.0,
        sampled=sampled,
    )
    without, free = plain.simulated(True), _free_drafts(drafted)
    assert free.requests.first_token.tolist() == without.requests.first_token.tolist()
    assert free.requests.last_token.tolist() == without.requests.last_token.tolist()
    assert free.summary["steps"] == without.summary["steps"]
    assert free.summary["itl_ms.p99"] == without.summary["itl_ms.p99"]
    paid = drafted.simulated(True)
    assert paid.summary["duration_s"] > without.summary["duration_s"]


def _free_drafts(case: DraftCase):
    """Simulate a case whose drafts cost nothing to make; a flat step costs nothing to widen."""
    plan = case.deployment()
    (drafting,) = plan.clients
    assert drafting.speculation is not None
    verify = VerifyCost(drafting.costs, FixedDraftCost(0))
    free = replace(drafting, speculation=replace(drafting.speculation, verify=verify))
    plan = replace(plan, clients=(free,))
    return simulate_deployment(SCENARIO, plan, workload(case.requests))


@pytest.mark.parametrize(("rate", "drafts"), [(0.0, 1), (0.3, 2), (0.7, 3), (0.85, 5), (1.0, 4)])
def test_expected_steps_are_those_of_the_closed_form(rate: float, drafts: int) -> None:
    """1 + a + ... + a^k tokens a step, so a request of n takes (n - 1) / that, rounded up."""
    output = 5001
    mean = sum(Fraction(str(rate)) ** i for i in range(drafts + 1))
    if rate < 1:
        assert float(mean) == pytest.approx((1 - rate ** (drafts + 1)) / (1 - rate))
    case = DraftCase([(0, 100, output)], limits(num_drafts=drafts), cost="flat", rate=rate)
    result = case.simulated(True)
    assert result.summary["steps"] == 1 + math.ceil((output - 1) / mean)
    step_s = (1000 + DRAFT_US) / 1e6
    throughput = (output - 1) / (result.requests.last_token - result.requests.first_token)[0]
    assert throughput * 1e12 == pytest.approx(float(mean) / step_s, rel=1e-3)


@pytest.mark.parametrize(("rate", "drafts"), [(0.3, 2), (0.7, 3), (0.9, 8)])
def test_sampled_gains_have_the_mean_and_spread_of_the_geometric_law(
    rate: float, drafts: int
) -> None:
    """Steps to gain n tokens are normal with mean n / m and variance n v / m^3 (renewal theory)."""
    output = 40_000
    chances = [rate**i * (1 - rate) for i in range(drafts)] + [rate**drafts]
    mean = sum((i + 1) * chance for i, chance in enumerate(chances))
    variance = sum((i + 1 - mean) ** 2 * chance for i, chance in enumerate(chances))
    case = DraftCase([(0, 9, output)], limits(num_drafts=drafts), "chunked", "flat", sampled=True)
    result = replace(case, rate=rate).simulated(True)
    steps = int(str(result.summary["steps"])) - 1
    assert abs(steps - output / mean) < 4 * math.sqrt(output * variance / mean**3) + 1


def test_modes_agree_on_the_mean() -> None:
    requests = [(i * 30_000 * US, 200, 300) for i in range(80)]
    case = DraftCase(requests, limits(num_drafts=3, max_num_seqs=32), rate=0.6)
    expected, sampled = case.simulated(True), replace(case, sampled=True).simulated(True)
    for metric in ("tpot_ms.mean", "e2el_ms.mean", "itl_ms.mean"):
        assert sampled.summary[metric] == pytest.approx(expected.summary[metric], rel=0.03)


def test_a_request_needs_room_for_its_drafts() -> None:
    bounds = limits(num_blocks=4, block_size=16, num_drafts=3, lookahead=3)
    case = DraftCase([(0, 32, 28), (0, 32, 27)], bounds)  # 59 and 58 slots, and 6 for drafts
    result = case.simulated(True)
    assert result.requests.reason == ("exceeds_kv_cache", "")


@given(st.integers(0, 100), st.integers(1, 12))
def test_the_mean_gain_is_exact(percent: int, drafts: int) -> None:
    rate = Fraction(percent, 100)
    assert mean_gain(percent / 100, drafts) == sum(rate**i for i in range(drafts + 1))


@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("lookahead", [0, 3])
@pytest.mark.parametrize("num_blocks", [14, 1000])
def test_a_decode_pool_verifies_drafts(sampled: bool, lookahead: int, num_blocks: int) -> None:
    drafting = limits(
        num_drafts=3, lookahead=lookahead, uniform_drafts=not sampled, num_blocks=num_blocks
    )
    requests = [(i * 7_000 * US, 1 + 13 * i % 90, 1 + 17 * i % 60) for i in range(40)]
    case = DraftCase(requests, drafting, sampled=sampled)
    (drafted,) = case.deployment().clients
    for prefill in (client(), replace(drafted, kv_bytes_per_token=0)):
        plan = pools(prefill, replace(drafted, kv_bytes_per_token=0))
        links = {link.name: link for link in plan.topology.links}
        hop = sum(links[name].latency for name in plan.topology.path(0, 1))
        reference = [Request(i, *request) for i, request in enumerate(requests)]
        first = ReferenceReplica(
            prefill.limits,
            "chunked",
            linear(),
            drafts=case.drafts(0, "p") if prefill.speculation else None,
        )
        second = ReferenceReplica(drafting, "chunked", linear(), drafts=case.drafts(0, "d"))
        route = ROUTERS["least_loaded"]
        run_reference_pools(reference, [first], route(), [second], route(), hop)
        expected = [(r.token_times[0], r.token_times[-1], r.preemptions) for r in reference]
        for fast_forward in (True, False):
            result = simulate_deployment(
                SCENARIO, plan, workload(requests), fast_forward, check=True
            ).requests
            actual = zip(
                result.first_token.tolist(),
                result.last_token.tolist(),
                result.preemptions.tolist(),
                strict=True,
            )
            assert list(actual) == expected
