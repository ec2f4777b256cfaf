"""Bounds of queues and deadlines: by hand, and against the exact loss of M/M/1/K and M/G/c/c."""

from __future__ import annotations

import math
from statistics import fmean, stdev

import numpy as np
import pytest

from hermes.sim.operations.plan import OperationsPlan
from hermes.sim.simulation import SimulationResult
from tests.sim.deployments import limits, linear, workload
from tests.sim.operations.cases import MS, assert_steps_do_not_matter, pool, run

STEP = 10**6  # ticks of one step: 1 us, all costs else zero
MEAN_STEPS = 200
STUDENT_999_10 = 4.781


def served(requests, operations: OperationsPlan, replicas: int = 1, **bounds: int):
    plan = pool(
        operations,
        replicas=replicas,
        costs=linear(1000, 0, 0),
        bounds=limits(**{"max_num_seqs": 1, **bounds}),
    )
    return assert_steps_do_not_matter(plan, workload(requests))


def reasons(result: SimulationResult) -> list[str]:
    return list(result.requests.reason)


def test_a_full_queue_rejects() -> None:
    """One place, two may wait: of five that come at once, two too many."""
    result = served([(0, 1, 5)] * 5, OperationsPlan(1, max_queue=2))
    assert reasons(result) == ["", "", "", "queue_full", "queue_full"]
    assert (result.summary["rejected"], result.summary["failed"]) == (2, 0)


def test_without_a_queue_only_free_places_are_given() -> None:
    requests = [(0, 1, 5), (MS, 1, 5), (4 * MS, 1, 5), (6 * MS, 1, 5)]
    result = served(requests, OperationsPlan(1, max_queue=0))
    assert reasons(result) == ["", "queue_full", "queue_full", ""]


def test_a_queue_that_waits_for_blocks_is_bounded_too() -> None:
    """Places for many, but KV blocks for one: 16 tokens, of which each request takes 10 or more."""
    bounds = {"max_num_seqs": 8, "num_blocks": 16, "block_size": 1}
    result = served([(0, 10, 5)] * 4, OperationsPlan(1, max_queue=1), **bounds)
    assert reasons(result) == ["", "", "queue_full", "queue_full"]


def test_a_pool_has_a_bound_of_its_own() -> None:
    """Two replicas, three may wait at both together."""
    result = served([(0, 1, 5)] * 7, OperationsPlan(2, max_pool_queue=3), replicas=2)
    assert reasons(result).count("queue_full") == 2
    assert reasons(result)[:5] == [""] * 5


def test_what_has_not_begun_by_its_deadline_is_dropped() -> None:
    """One place; the second begins at 5 ms, in time for 6 ms; the third would at 10 ms."""
    requests = [(0, 1, 5), (0, 1, 5), (0, 1, 5), (MS, 1, 5)]
    result = served(requests, OperationsPlan(1, timeout=6 * MS))
    assert reasons(result) == ["", "", "deadline_passed", "deadline_passed"]


def test_what_was_preempted_has_begun() -> None:
    """KV blocks for one of two that decode: the other waits again, for longer than its deadline."""
    bounds = {"max_num_seqs": 2, "num_blocks": 24, "block_size": 1}
    result = served([(0, 4, 20), (0, 4, 20)], OperationsPlan(1, timeout=5 * MS), **bounds)
    assert reasons(result) == ["", ""]
    assert result.summary["preemptions"] > 0


def blocked(load: float, servers: int, queue: int, kind: str, seed: int, size: int) -> float:
    """Return the share of requests rejected by `servers` replicas of one place each."""
    rng = np.random.default_rng([seed, 5])
    gaps = rng.exponential(MEAN_STEPS * STEP / load, size)
    arrivals = np.cumsum(gaps).astype(np.int64)
    steps = rng.geometric(1 / MEAN_STEPS, size)
    if kind == "constant":
        steps = np.full(size, MEAN_STEPS)
    requests = [(int(a), 1, int(s)) for a, s in zip(arrivals, steps, strict=True)]
    plan = pool(
        OperationsPlan(servers, max_queue=queue),
        replicas=servers,
        costs=linear(1, 0, 0),
        routing="join_shortest_queue",
        bounds=limits(max_num_seqs=1),
    )
    summary = run(plan, workload(requests)).summary
    return summary["rejected"] / size


def erlang_b(load: float, servers: int) -> float:
    loss = 1.0
    for number in range(1, servers + 1):
        loss = load * loss / (number + load * loss)
    return loss


def mm1k(load: float, places: int) -> float:
    return (1 - load) * load**places / (1 - load ** (places + 1))


@pytest.mark.parametrize(
    ("load", "servers", "queue", "kind", "expected"),
    [
        (0.8, 1, 2, "exponential", mm1k(0.8, 3)),
        (1.5, 1, 4, "exponential", mm1k(1.5, 5)),
        (2.0, 3, 0, "exponential", erlang_b(2.0, 3)),
        (2.0, 3, 0, "constant", erlang_b(2.0, 3)),  # whatever the distribution
    ],
)
def test_the_share_rejected_is_the_exact_one(
    load: float, servers: int, queue: int, kind: str, expected: float
) -> None:
    samples = [blocked(load, servers, queue, kind, seed, 2000) for seed in range(10)]
    half = STUDENT_999_10 * stdev(samples) / math.sqrt(len(samples))
    assert half < 0.15 * expected
    assert abs(fmean(samples) - expected) <= half + 0.01 * expected  # steps of 1/200 of a service
