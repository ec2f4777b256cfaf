"""Availability in the long run, and autoscalers that follow the load."""

from __future__ import annotations

from statistics import fmean

import pytest

from hermes.sim.operations.plan import AutoscalePlan, FailurePlan, OperationsPlan, StartUpPlan
from tests.sim.deployments import limits, linear, workload
from tests.sim.operations.cases import MS, S, assert_steps_do_not_matter, facts, outages, pool, run

STEP = linear(1000, 0, 0)


def test_availability_is_that_of_a_machine_with_two_states() -> None:
    """MTBF 3 s, MTTR 1 s: up for 3/4 of the time, over some 4,000 cycles of each of four."""
    failures = FailurePlan(3.0, 1.0, 0, (), None, False)
    plan = pool(OperationsPlan(4, failures=failures), replicas=4, costs=STEP)
    requests = [(second * S, 1, 1) for second in range(0, 16_000, 20)]
    summary = run(plan, workload(requests)).summary
    # a cycle has mean 4 and the share of it that is up a variance of (MTBF MTTR)^2 * 2 / cycle^3
    spread = (2 * (3 * 1) ** 2 / 4**3 / 16_000 / 4) ** 0.5
    assert abs(summary["availability"] - 3 / 4) < 3.3 * spread
    assert summary["completed"] == len(requests)


def test_failures_of_one_replica_leave_those_of_others_alone() -> None:
    """Each has a random stream of its own: with more replicas, replica 0 fails as before."""
    failures = FailurePlan(0.5, 0.1, 0, (), None, False)
    requests = [(ms * MS, 1, 1) for ms in range(0, 4000, 5)]

    def on_first(replicas: int) -> list[bool]:
        plan = pool(
            OperationsPlan(replicas, failures=failures, retries=0),
            replicas=replicas,
            costs=STEP,
            routing="least_loaded",
        )
        columns = run(plan, workload(requests)).requests
        return [r == 0 for r in columns.replica.tolist()]

    alone, both = on_first(1), on_first(2)
    waited = run(
        pool(OperationsPlan(1, failures=failures), replicas=1, costs=STEP), workload(requests)
    ).requests
    up = [tick < 2 * MS for tick in (waited.scheduled - waited.arrival).tolist()]
    # where replica 0 was up when a request came, it served it (it is the first among equals)
    agree = [a == b for a, b, is_up in zip(alone, both, up, strict=True) if is_up]
    assert fmean(agree) > 0.98


def scaled(
    requests, signal: str = "requests", target: float = 1.0, cooldown: int = 0, **changes: object
):
    scale = AutoscalePlan(1, 4, signal, target, 100 * MS, cooldown)  # type: ignore[arg-type]
    operations = OperationsPlan(**({"replicas": 1, "autoscale": scale} | changes))  # type: ignore[arg-type]
    plan = pool(operations, replicas=4, costs=STEP, bounds=limits(max_num_seqs=4))
    return assert_steps_do_not_matter(plan, workload(requests))


def test_a_step_of_load_brings_replicas_at_the_next_look() -> None:
    """Four requests at once, one a replica aimed at: three more at 100 ms, up 50 ms later."""
    requests = [(10 * MS, 1, 400)] * 4 + [(151 * MS, 1, 10)] * 3
    result = scaled(requests, start_up=StartUpPlan(50 * MS))
    assert result.requests.replica.tolist() == [0, 0, 0, 0, 1, 2, 3]
    assert result.summary["completed"] == 7


def test_replicas_are_paid_while_they_are_there() -> None:
    """One until 100 ms; four until the look at 200 ms finds four left to run; one of them alone."""
    requests = [(0, 1, 150)] * 4 + [(400 * MS, 1, 1)]
    result = scaled(requests)
    # 4 requests until 150 ms on replica 0; at 200 ms nothing is left, and three are taken away
    end = 401
    assert result.summary["device_hours"] == pytest.approx((end + 3 * 100) / 1000 / 3600)
    assert result.summary["devices"] == pytest.approx((end + 300) / end)
    assert result.summary["cost_per_hour"] == pytest.approx((end + 300) / end)  # a dollar an hour


def test_nothing_is_taken_away_during_the_cooldown() -> None:
    requests = [(0, 1, 150)] * 4 + [(900 * MS, 1, 1)]
    result = scaled(requests, cooldown=450 * MS)
    # taken away at the look at 600 ms: 500 ms after they were started
    assert result.summary["device_hours"] == pytest.approx((901 + 3 * 500) / 1000 / 3600)


@pytest.mark.parametrize(
    ("signal", "target", "expected"),
    [
        ("requests", 2.0, 4),  # 8 requests, 4 of them in the queue
        ("queue", 2.0, 2),
        ("queue", 5.0, 1),
        ("utilization", 0.5, 2),  # one replica that always computes
        ("utilization", 1.0, 1),
        ("kv", 0.3, 3),  # 8 of the 10 blocks: those that run, and those the queue will need
    ],
)
def test_every_signal_counts_what_it_says(signal: str, target: float, expected: int) -> None:
    scale = AutoscalePlan(1, 4, signal, target, 100 * MS, S)  # type: ignore[arg-type]
    plan = pool(
        OperationsPlan(1, autoscale=scale),
        replicas=4,
        costs=STEP,
        bounds=limits(max_num_seqs=4, num_blocks=10, block_size=1000),
    )
    requests = [(0, 1, 190)] * 8 + [(150 * MS, 1, 1)] * 20
    result = assert_steps_do_not_matter(plan, workload(requests))
    assert len(set(result.requests.replica.tolist())) == expected


def test_a_replica_that_failed_is_replaced() -> None:
    scale = AutoscalePlan(1, 2, "requests", 1.0, 100 * MS, S)
    failures = outages((0, 50 * MS, None, 0))
    result = scaled_pool(OperationsPlan(1, autoscale=scale, failures=failures))
    assert result.requests.replica.tolist() == [1]
    assert result.requests.finished.tolist() == [(100 + 80) * MS]


def scaled_pool(operations: OperationsPlan):
    plan = pool(operations, replicas=2, costs=STEP)
    return assert_steps_do_not_matter(plan, workload([(0, 1, 80)]))


def test_runs_are_the_same_bit_by_bit() -> None:
    failures = FailurePlan(0.2, 0.1, 20 * MS, (), None, True)
    scale = AutoscalePlan(1, 3, "requests", 2.0, 50 * MS, 100 * MS)
    plan = pool(
        OperationsPlan(2, failures=failures, autoscale=scale, max_queue=3, timeout=200 * MS),
        replicas=3,
        costs=STEP,
        bounds=limits(max_num_seqs=2),
    )
    requests = workload([(i * 7 * MS, 1 + i % 5, 1 + i * 13 % 60) for i in range(200)])
    one, two = run(plan, requests), run(plan, requests)
    assert facts(one) == facts(two)
    assert one.summary == two.summary
