"""Outages worked out by hand: what is lost, where it goes on, and what that costs in time.

Steps take 1 ms. A request alone on a replica, of one prompt token, has its token number n after n
steps.
"""

from __future__ import annotations

import pytest

from hermes.sim.operations.plan import FailurePlan, OperationsPlan, StartUpPlan, UpgradePlan
from hermes.sim.simulation import SimulationResult
from hermes.workload import Prefixes, Workload
from tests.sim.deployments import limits, linear, workload
from tests.sim.operations.cases import MS, assert_steps_do_not_matter, outages, pool

STEP = linear(1000, 0, 0)


def simulated(
    requests: list[tuple[int, int, int]] | Workload,
    operations: OperationsPlan,
    replicas: int = 2,
    **bounds: int,
) -> SimulationResult:
    plan = pool(
        operations,
        replicas=replicas,
        costs=STEP,
        routing="round_robin",
        bounds=limits(**bounds),
    )
    given = requests if isinstance(requests, Workload) else workload(requests)
    return assert_steps_do_not_matter(plan, given)


def milliseconds(values) -> list[float]:
    return [value / MS for value in values.tolist()]


def crash(at_ms: float, down_ms: float | None = None, **changes: object) -> OperationsPlan:
    failures = outages((0, int(at_ms * MS), None if down_ms is None else int(down_ms * MS), 0))
    return OperationsPlan(**({"replicas": 2, "failures": failures} | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("at_ms", [3.5, 4.0])
def test_a_request_begins_again_elsewhere(at_ms: float) -> None:
    """Lost in its fourth step: 10 more steps from then on, its first token stays where it was."""
    requests = simulated([(0, 1, 10)], crash(at_ms)).requests
    assert requests.status.tolist() == ["completed"]
    assert milliseconds(requests.first_token) == [1.0]
    assert milliseconds(requests.finished) == [at_ms + 10]
    assert requests.retries.tolist() == [1]
    assert requests.replica.tolist() == [1]


@pytest.mark.parametrize("at_ms", [3.5, 4.0])
def test_a_request_goes_on_behind_its_tokens(at_ms: float) -> None:
    """A step that ends when the replica is lost is lost, too: three tokens are there either way."""
    requests = simulated([(0, 1, 10)], crash(at_ms, resume=True)).requests
    assert milliseconds(requests.finished) == [at_ms + 7]


def test_a_request_that_has_lost_time_says_so() -> None:
    """Both replicas are gone from 3.5 to 8.5 ms; what it had done before counts as computing."""
    failures = outages((0, int(3.5 * MS), 5 * MS, 0), (1, 2 * MS, None, 0))
    result = simulated([(0, 1, 10)], OperationsPlan(2, failures=failures))
    (preempted,) = milliseconds(result.requests.stages.preemption)
    (computed,) = milliseconds(result.requests.stages.compute)
    assert (preempted, computed) == (5.0, 13.5)
    assert milliseconds(result.requests.finished) == [18.5]


def test_a_request_fails_when_it_may_not_begin_again() -> None:
    result = simulated([(0, 1, 10), (0, 1, 10)], crash(3.5, retries=0))
    assert result.requests.status.tolist() == ["failed", "completed"]
    assert result.requests.reason == ("replica_lost", "")
    assert (result.summary["completed"], result.summary["failed"]) == (1, 1)


def test_one_that_still_waits_moves_on_too() -> None:
    """Two requests on replica 0, one place each: the second never began there."""
    requests = [(0, 1, 10), (0, 1, 10), (0, 1, 10)]  # to replicas 0, 1, 0
    columns = simulated(requests, crash(3.5), max_num_seqs=1).requests
    assert columns.replica.tolist() == [1, 1, 1]
    # Replica 1 goes on with its own until 10 ms, then with what it was sent, in that order.
    assert sorted(milliseconds(columns.finished)) == [10.0, 20.0, 30.0]


def test_requests_wait_for_the_only_replica() -> None:
    failures = outages((0, 5 * MS, 20 * MS, 0))
    operations = OperationsPlan(1, failures=failures, start_up=StartUpPlan(7 * MS))
    result = simulated([(0, 1, 3), (10 * MS, 1, 3)], operations, replicas=1)
    assert milliseconds(result.requests.scheduled) == [0.0, 32.0]
    assert milliseconds(result.requests.finished) == [3.0, 35.0]
    assert result.requests.retries.tolist() == [0, 0]
    assert result.summary["availability"] == pytest.approx((5 + 3) / 35)


def test_requests_that_nobody_ever_serves_are_sent_away() -> None:
    failures = outages((0, 5 * MS, None, 0))
    operations = OperationsPlan(1, failures=failures)
    requests = simulated([(0, 1, 10), (10 * MS, 1, 3)], operations, replicas=1).requests
    assert requests.status.tolist() == ["failed", "rejected"]
    assert requests.reason == ("no_replica_up", "no_replica_up")


def test_a_drained_replica_finishes_what_it_has() -> None:
    """An upgrade of replica 0 announced at 2 ms: it goes down at 10 ms, and is back 5 ms later."""
    failures = outages((0, 2 * MS, 5 * MS, None))
    requests = [(0, 1, 10), (1, 1, 10), (3 * MS, 1, 2), (16 * MS, 1, 1), (16 * MS, 1, 1)]
    result = simulated(requests, OperationsPlan(2, failures=failures))
    assert result.requests.replica.tolist() == [0, 1, 1, 0, 1]
    assert result.summary["retries"] == 0
    assert milliseconds(result.requests.finished)[0] == 10.0


def test_a_spot_loss_takes_what_is_left_after_its_notice() -> None:
    failures = outages((0, 2 * MS, None, 4 * MS), released=True)
    requests = [(0, 1, 4), (1, 1, 20), (1, 1, 20)]  # to replicas 0, 1, 0
    result = simulated(requests, OperationsPlan(2, failures=failures))
    columns = result.requests
    assert columns.retries.tolist() == [0, 0, 1]
    assert milliseconds(columns.finished)[0] == 4.0
    # two devices for 6 ms, then one: paid by the time that they are there
    end_ms = max(milliseconds(columns.finished))
    assert result.summary["devices"] == pytest.approx((6 + end_ms) / end_ms)
    assert result.summary["cost_per_hour"] == pytest.approx((6 + end_ms) / end_ms)
    hours = (6 + end_ms) / 1000 / 3600
    assert result.summary["device_hours"] == pytest.approx(hours)


def test_the_cache_of_a_replica_that_comes_back_is_cold() -> None:
    prompts = Prefixes(16, ((1, 2), (1, 2), (1, 2)))
    requests = [(0, 40, 1), (10 * MS, 40, 1), (30 * MS, 40, 1)]
    failures = outages((0, 20 * MS, 5 * MS, 0))
    traffic = workload(requests, prefixes=prompts)
    columns = simulated(traffic, OperationsPlan(1, failures=failures), replicas=1).requests
    assert columns.reused_tokens.tolist() == [0, 32, 0]


def test_weights_share_the_links_they_come_over() -> None:
    """Two replicas of one node start at once; alone, each would load 31 GB/s from its host."""
    weights, store = 31 * 10**9, 15.5e9
    failures = outages((0, MS, 0, 0), (1, MS, 0, 0))
    start_up = StartUpPlan(0, weights, "store", store)
    result = simulated(
        [(0, 1, 1), (2 * MS, 1, 1), (2 * MS, 1, 1)],
        OperationsPlan(2, failures=failures, start_up=start_up),
    )
    began = milliseconds(result.requests.scheduled)[1:]
    # 62 GB through a store that gives 15.5 GB/s: 4 s from the crash, and the core's latency
    assert all(began_at == pytest.approx(4001, abs=0.5) for began_at in began)


def test_replicas_are_upgraded_one_after_the_other() -> None:
    failures = FailurePlan(None, 0.0, 0, (), UpgradePlan(10 * MS, 20 * MS, None), False)
    requests = [(ms * MS, 1, 1) for ms in range(0, 60, 2)]
    result = simulated(requests, OperationsPlan(2, failures=failures))
    replica = dict(zip(range(0, 60, 2), result.requests.replica.tolist(), strict=True))
    assert {replica[ms] for ms in range(12, 30, 2)} == {1}
    assert {replica[ms] for ms in range(32, 50, 2)} == {0}
    assert {replica[ms] for ms in range(52, 60, 2)} == {0, 1}
    assert result.summary["completed"] == len(requests)
    assert result.summary["retries"] == 0
