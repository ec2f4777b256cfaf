"""Routing against queueing theory: single servers behind a router.

With `max_num_seqs: 1` and steps of constant time a replica is one server, and geometric outputs
make its service times exponential. Exact values: splitting at random leaves M/M/1 queues; the power
of two choices has Mitzenmacher's limit for many servers; a single server takes the router out.
"""

from __future__ import annotations

import math
from statistics import fmean, stdev

import numpy as np
import pytest

from tests.sim.deployments import limits, linear
from tests.sim.routing.pools import run, traffic

STEP = 10**6
MEAN_STEPS = 200
STUDENT_999 = {6: 6.869, 10: 4.781}  # two-sided 99.9 %, n - 1 degrees of freedom


def mean_wait(policy: str, load: float, servers: int, size: int, seed: int) -> float:
    """Return the mean wait in units of the mean service time."""
    rng = np.random.default_rng([seed, servers])
    gaps = rng.exponential(MEAN_STEPS * STEP / load / servers, size)
    services = rng.geometric(1 / MEAN_STEPS, size)
    rows = [
        (int(a), 1, int(s)) for a, s in zip(np.cumsum(gaps).astype(np.int64), services, strict=True)
    ]
    bounds = limits(max_num_seqs=1)
    log = run(policy, traffic(rows), servers, seed=seed, bounds=bounds, costs=linear(1, 0, 0))
    return float((log.scheduled - log.arrival)[size // 5 :].mean()) / (MEAN_STEPS * STEP)


def interval(samples: list[float]) -> tuple[float, float]:
    half = STUDENT_999[len(samples)] * stdev(samples) / math.sqrt(len(samples))
    return fmean(samples), half


def two_choices(load: float) -> float:
    """Return the mean wait with two choices among ever more servers (Mitzenmacher 2001)."""
    return math.fsum(load ** (2**i - 2) for i in range(1, 12)) - 1


@pytest.mark.parametrize(
    ("policy", "load", "servers", "expected"),
    [
        ("random", 0.5, 8, 1.0),
        ("power_of_two", 0.8, 60, two_choices(0.8)),
    ],
)
def test_mean_wait_is_that_of_theory(
    policy: str, load: float, servers: int, expected: float
) -> None:
    samples = [mean_wait(policy, load, servers, 10_000, seed) for seed in range(10)]
    mean, half = interval(samples)
    assert half < 0.16 * expected
    # 60 servers are not infinitely many; a server sees arrivals at step ends
    assert abs(mean - expected) <= half + 0.03 * expected


@pytest.mark.parametrize("load", [0.7, 0.9])
def test_the_more_a_router_sees_the_shorter_the_waits(load: float) -> None:
    policies = ("join_shortest_queue", "power_of_two", "random")
    waits = [mean_wait(policy, load, 8, 12_000, 1) for policy in policies]
    assert waits[0] < 0.8 * waits[1]
    assert waits[1] < 0.8 * waits[2]


def test_one_queue_for_all_bounds_every_router_from_below() -> None:
    """M/M/4 by Erlang's C, which no router to single servers can beat in the mean."""
    load, servers = 0.8, 4
    offered = load * servers
    tail = offered**servers / math.factorial(servers) / (1 - load)
    waiting = tail / (math.fsum(offered**k / math.factorial(k) for k in range(servers)) + tail)
    erlang = waiting / (servers * (1 - load))
    samples = [mean_wait("join_shortest_queue", load, servers, 12_000, s) for s in range(6)]
    oracle = [mean_wait("oracle", load, servers, 12_000, s) for s in range(6)]
    assert erlang < fmean(oracle) + interval(oracle)[1]
    assert fmean(oracle) < fmean(samples) < 2 * erlang
