"""Data-parallel groups in lock-step: equal to the reference to the tick, and by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from hermes.catalog import find_device, find_model
from hermes.costs.memory import weight_bytes_per_device
from hermes.costs.roofline import Roofline
from hermes.errors import InputError
from hermes.metrics.gaps import TokenGaps
from hermes.scenario import build_scenario
from hermes.scenario.units import seconds_to_ticks
from hermes.sim import simulate
from hermes.sim.simulation import SimulationResult, simulate_deployment
from tests.oracle.lockstep import run_lockstep
from tests.oracle.reference import ROUTERS, NeverEndsError, ReferenceReplica
from tests.sim.deployments import US, limits, linear, workload
from tests.sim.test_against_oracle import ANY_HEALTH, BATCHING, COSTS, SCENARIO, Case, cases


def simulated(case: Case, groups: int, fast_forward: bool) -> SimulationResult:
    plan = replace(case, replicas=groups).deployment()
    client = replace(plan.clients[0], data_parallel_size=groups)
    traffic = workload(case.requests, case.priority, case.prefixes)
    plan = replace(plan, clients=(client,))
    return simulate_deployment(SCENARIO, plan, traffic, fast_forward, check=True)


def assert_equal_to_reference(case: Case, groups: int) -> None:
    requests = case.unserved()
    pool = [
        ReferenceReplica(
            case.bounds,
            case.batching,
            COSTS[case.cost](),
            case.order,
            lambda tokens: seconds_to_ticks(tokens * 2e-6),
        )
        for _ in range(groups)
    ]
    try:
        run_lockstep(requests, pool, ROUTERS[case.routing]())
    except NeverEndsError:
        reject()
    expected = [(r.scheduled, r.token_times[0], r.token_times[-1], r.preemptions) for r in requests]
    gaps = sorted(
        later - earlier
        for r in requests
        for earlier, later in zip(r.token_times, r.token_times[1:], strict=False)
    )
    for fast_forward in (True, False):
        result = simulated(case, groups, fast_forward)
        columns = result.requests
        actual = zip(
            columns.scheduled.tolist(),
            columns.first_token.tolist(),
            columns.last_token.tolist(),
            columns.preemptions.tolist(),
            strict=True,
        )
        assert list(actual) == expected
        assert result.summary["steps"] == sum(group.steps for group in pool)
        values, counts = TokenGaps.gathered(result.gaps)
        assert values.repeat(counts).tolist() == gaps


@pytest.mark.parametrize("batching", BATCHING)
@settings(max_examples=40, deadline=None, suppress_health_check=ANY_HEALTH)
@given(st.data(), st.integers(2, 4))
def test_random_scenarios_equal_the_reference(
    batching: str, data: st.DataObject, groups: int
) -> None:
    assert_equal_to_reference(data.draw(cases(batching)), groups)


@pytest.mark.slow
@pytest.mark.parametrize("batching", BATCHING)
@settings(max_examples=2_000, deadline=None, suppress_health_check=ANY_HEALTH)
@given(st.data(), st.integers(2, 4))
def test_many_random_scenarios_equal_the_reference(
    batching: str, data: st.DataObject, groups: int
) -> None:
    assert_equal_to_reference(data.draw(cases(batching)), groups)


def test_a_step_waits_for_the_slowest_and_pads_to_the_largest() -> None:
    """By hand: 4 ms a step and 20 us a token; a prompt of 1,000 beside one of 10."""
    case = Case([(0, 1000, 3), (0, 10, 3)], limits(), routing="round_robin")
    first, second = simulated(case, 2, fast_forward=True).requests.last_token.tolist()
    prompts, decodes = (4000 + 1000 * 20) * US, 2 * (4000 + 20) * US
    context = 8 * 1000  # ticks for each token of context
    assert first == second == prompts + decodes + (1000 + 1001) * context


def test_a_lone_request_is_as_fast_as_on_one_group() -> None:
    lone = Case([(0, 500, 50)], limits())
    together = simulated(lone, 4, fast_forward=True).requests
    apart = lone.simulated(True).requests
    assert together.last_token.tolist() == apart.last_token.tolist()


def test_groups_that_wait_for_each_other_are_slower_than_those_that_do_not() -> None:
    requests = [(i * 3000 * US, 50 + 97 * i % 900, 20 + 13 * i % 80) for i in range(60)]
    case = Case(requests, limits(), routing="round_robin", replicas=3)
    apart = case.simulated(True).requests
    together = simulated(case, 3, fast_forward=True).requests
    assert together.first_token.sum() > 1.05 * apart.first_token.sum()
    assert together.last_token.sum() > 1.05 * apart.last_token.sum()


MOE = {
    "model": "mixtral-8x7b",
    "device": "h100-sxm",
    "tensor_parallel_size": 2,
    "data_parallel_size": 4,
}


def scenario(**changes: object) -> SimulationResult:
    return simulate(
        build_scenario(
            {
                "workload": {
                    "requests": {"sample": "chat"},
                    "arrivals": {"process": "poisson", "rate_per_s": 8},
                    "limit": {"requests": 150},
                },
                "clients": {"c": MOE | changes},
            }
        ),
        check=True,
    )


@pytest.mark.parametrize("expert_parallel", [False, True])
def test_a_scenario_with_groups(expert_parallel: bool) -> None:
    result = scenario(costs={"roofline": {"expert_parallel": expert_parallel}}, replicas=2)
    assert result.requests.completed.all()
    assert result.summary["devices"] == 16
    assert len(result.requests.replica_names) == 8
    assert len(set(result.requests.replica.tolist())) == 8


def test_groups_share_the_experts_and_copy_the_rest() -> None:
    model = find_model("mixtral-8x7b")
    alone = weight_bytes_per_device(model, "bf16", 2)
    shared = weight_bytes_per_device(model, "bf16", 2, 4)
    experts = 32 * 8 * 3 * 4096 * 14336 * 2  # layers, experts, matrices, widths, bytes
    assert alone - shared == pytest.approx(experts / 2 - experts / 8, rel=1e-6)


def test_experts_see_the_tokens_of_all_groups() -> None:
    """As many tokens on as many devices: the experts' time is that of one group of all."""
    model, device = find_model("mixtral-8x7b"), find_device("h100-sxm")
    together = Roofline(model, device, "bf16", "bf16", 2, True, None, 4)
    one = Roofline(model, device, "bf16", "bf16", 8, True)
    assert together.operators.experts == one.operators.experts
    lone = Roofline(model, device, "bf16", "bf16", 2, True)
    assert together.operators.allreduces + together.operators.exchanges == lone.operators.allreduces
    assert together.exchanges(64) == pytest.approx(32 / 65 * one.allreduces(64))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "llama-3.1-8b"}, ["data_parallel_size", "no routed experts", "replicas"]),
        ({"data_parallel_size": 8}, ["data_parallel_size", "16 devices", "8 h100-sxm are linked"]),
        ({"pipeline_parallel_size": 2}, ["pipeline_parallel_size", "not modelled together"]),
        ({"costs": {"table": "x.csv"}}, ["costs", "lock-step"]),
    ],
)
def test_what_cannot_step_together_is_refused(changes: dict[str, object], words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        scenario(**changes)
    for word in words:
        assert word in str(caught.value)


def test_linear_costs_pad_by_the_token() -> None:
    assert linear().padding_ticks(3, 10) == 7 * 20 * US
