"""Pipeline parallelism: as many batches in flight as stages, equal to the reference to the tick."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from hermes.errors import InfeasibleError
from hermes.metrics.gaps import TokenGaps
from hermes.scenario import build_scenario
from hermes.scenario.units import seconds_to_ticks
from hermes.sim.deployment import Deployment, resolve
from hermes.sim.simulation import simulate_deployment
from tests.oracle.pipeline import PipelinedReference
from tests.oracle.reference import NeverEndsError, Request, round_robin, run_reference
from tests.sim.deployments import US, deployment, limits, linear, workload
from tests.sim.test_against_oracle import COSTS, SCENARIO, TTFT_TICKS, Case, cases

HOP_S = 3e-6


def pipelined(case: Case, stages: int, hop_s: float = HOP_S) -> Deployment:
    plan = deployment(
        batching=case.batching,
        bounds=case.bounds,
        costs=COSTS[case.cost](),
        replicas=1,
        order=case.order,
    )
    client = replace(
        plan.clients[0],
        pipeline_parallel_size=stages,
        hop_latency_s=hop_s,
        hop_seconds_per_token=0.0,
    )
    return replace(plan, clients=(client,))


def assert_equal_to_reference(case: Case, stages: int) -> None:
    reference = [
        Request(
            i,
            arrival,
            prompt,
            output,
            prefix=case.prefix(i, prompt),
            priority=case.priority[i] if case.priority else 0,
            deadline=arrival + TTFT_TICKS,
        )
        for i, (arrival, prompt, output) in enumerate(case.requests)
    ]
    replica = PipelinedReference(
        case.bounds,
        case.batching,
        COSTS[case.cost](),
        case.order,
        lambda tokens: seconds_to_ticks(tokens * 2e-6),
        stages=stages,
        hop_ticks=lambda _: seconds_to_ticks(HOP_S),
    )
    try:
        run_reference(reference, [replica], round_robin())
    except NeverEndsError:
        reject()
    traffic = workload(case.requests, case.priority, case.prefixes)
    result = simulate_deployment(SCENARIO, pipelined(case, stages), traffic, check=True)
    columns = result.requests
    assert list(
        zip(
            columns.first_token.tolist(),
            columns.last_token.tolist(),
            columns.preemptions,
            strict=True,
        )
    ) == [(r.token_times[0], r.token_times[-1], r.preemptions) for r in reference]
    assert result.summary["steps"] == replica.steps
    values, counts = TokenGaps.gathered(result.gaps)
    assert values.repeat(counts).tolist() == sorted(
        later - earlier
        for r in reference
        for earlier, later in zip(r.token_times, r.token_times[1:], strict=False)
    )


@pytest.mark.parametrize("batching", ["chunked", "mixed"])
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_random_scenarios_equal_the_reference(batching: str, data: st.DataObject) -> None:
    case = data.draw(cases(batching))
    case = replace(case, bounds=replace(case.bounds, prefill_schedule_interval=1))
    assert_equal_to_reference(case, data.draw(st.integers(2, 4)))


def test_a_request_alone_gains_nothing_from_stages() -> None:
    case = Case([(0, 100, 10)], limits())
    times = [
        int(simulate_deployment(SCENARIO, pipelined(case, stages, 0.0), workload(case.requests))
            .requests.last_token[0])
        for stages in (1, 2, 4)
    ]  # fmt: skip
    assert max(times) - min(times) <= 4 * 11  # a tick of rounding a stage and step


def test_saturated_throughput_grows_with_the_stages() -> None:
    """Steps of constant time: `p` stages finish `p` batches in the time of one."""
    requests = [(0, 64, 200)] * 64
    spans = {}
    for stages in (1, 2, 4):
        case = Case(requests, limits(max_num_batched_tokens=64, max_num_seqs=64), cost="flat")
        plan = pipelined(case, stages, 0.0)
        spans[stages] = int(
            simulate_deployment(SCENARIO, plan, workload(requests)).requests.last_token.max()
        )
    assert spans[4] < spans[2] < spans[1]


def mapping(**client: object) -> dict[str, object]:
    return {
        "workload": {"requests": {"sample": "chat"}, "limit": {"requests": 100}},
        "clients": {"c": {"model": "llama-3.1-70b", "device": "h100-sxm", **client}},
    }


def test_stages_share_weights_and_cache() -> None:
    one = resolve(build_scenario(mapping(tensor_parallel_size=4))).clients[0]
    two = resolve(
        build_scenario(mapping(tensor_parallel_size=4, pipeline_parallel_size=2))
    ).clients[0]
    assert two.devices == 2 * one.devices
    assert two.limits.num_blocks > 2 * one.limits.num_blocks


@pytest.mark.parametrize(
    ("client", "words"),
    [
        ({"pipeline_parallel_size": 81, "num_gpu_blocks_override": 99}, ["81 stages", "80 layers"]),
        (
            {"pipeline_parallel_size": 2, "tensor_parallel_size": 4, "batching": "continuous"},
            ["batching", "chunked, mixed"],
        ),
    ],
)
def test_pipelines_that_cannot_be_are_refused(client: dict[str, object], words: list[str]) -> None:
    with pytest.raises(InfeasibleError) as caught:
        resolve(build_scenario(mapping(**client)))
    for word in words:
        assert word in str(caught.value)


def test_linear_costs_pass_through_stages_exactly() -> None:
    case = Case([(0, 160, 3)], limits())
    plan = replace(
        pipelined(case, 2, 0.0),
        clients=(replace(pipelined(case, 2, 0.0).clients[0], costs=linear(1000, 0, 0)),),
    )
    columns = simulate_deployment(SCENARIO, plan, workload(case.requests)).requests
    assert columns.last_token[0] == 3 * 1000 * US
