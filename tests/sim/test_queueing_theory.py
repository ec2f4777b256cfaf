"""Queueing theory through Hermes' own queue: a replica that serves so many requests at a time.

With `max_num_seqs: c` and steps of constant time, a replica is c servers with one queue, whose
service times are set by the output lengths. Exact values from Kleinrock (1975) and
Pollaczek-Khinchine; intervals are 99.9 % over independent replications, and must be narrow enough
to mean something.
"""

from __future__ import annotations

import math
from statistics import fmean, stdev

import numpy as np
import pytest

from hermes.sim.simulation import simulate_deployment
from tests.sim.deployments import deployment, limits, linear, workload
from tests.sim.test_against_oracle import SCENARIO

STEP = 10**6  # ticks of one step: 1 us, all costs else zero
MEAN_STEPS = 200
STUDENT_999 = {10: 4.781, 20: 3.883}  # two-sided 99.9 %, n - 1 degrees of freedom


def mean_wait(service_steps: np.ndarray, load: float, servers: int, seed: int) -> float:
    """Return the mean wait in units of the mean service time."""
    rng = np.random.default_rng([seed, 1])
    gaps = rng.exponential(MEAN_STEPS * STEP / load / servers, len(service_steps))
    arrivals = np.cumsum(gaps).astype(np.int64)
    requests = [(int(a), 1, int(s)) for a, s in zip(arrivals, service_steps, strict=True)]
    plan = deployment(bounds=limits(max_num_seqs=servers), costs=linear(1, 0, 0))
    columns = simulate_deployment(SCENARIO, plan, workload(requests)).requests
    cut = len(requests) // 10
    waits = (columns.scheduled - columns.arrival)[cut:] / (MEAN_STEPS * STEP)
    return float(waits.mean())


def interval(samples: list[float]) -> tuple[float, float]:
    half = STUDENT_999[len(samples)] * stdev(samples) / math.sqrt(len(samples))
    return fmean(samples), half


def services(kind: str, size: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, 2])
    if kind == "exponential":
        return rng.geometric(1 / MEAN_STEPS, size)
    if kind == "constant":
        return np.full(size, MEAN_STEPS)
    sigma = math.sqrt(math.log(1 + 2.0))  # lognormal with cv^2 = 2
    draws = rng.lognormal(math.log(MEAN_STEPS) - sigma**2 / 2, sigma, size)
    return np.maximum(1, np.rint(draws)).astype(np.int64)


def pollaczek_khinchine(load: float, cv2: float) -> float:
    return load * (1 + cv2) / 2 / (1 - load)


@pytest.mark.parametrize(
    ("kind", "load", "servers", "size", "expected"),
    [
        ("exponential", 0.5, 1, 12_000, 1.0),  # M/M/1
        ("exponential", 0.8, 1, 25_000, 4.0),
        ("constant", 0.8, 1, 20_000, 2.0),  # M/D/1
        ("lognormal", 0.5, 1, 25_000, pollaczek_khinchine(0.5, 2.0)),  # M/G/1
        ("exponential", 0.5, 2, 20_000, 1 / 3),  # M/M/2, Erlang C
    ],
)
def test_mean_wait_is_the_exact_one(
    kind: str, load: float, servers: int, size: int, expected: float
) -> None:
    samples = [mean_wait(services(kind, size, s), load, servers, s) for s in range(10)]
    mean, half = interval(samples)
    assert half < 0.13 * expected
    assert abs(mean - expected) <= half + 0.01 * expected  # a server sees arrivals at step ends


@pytest.mark.slow
@pytest.mark.parametrize(
    ("load", "servers", "expected"),
    [(0.5, 1, 1.0), (0.8, 1, 4.0), (0.9, 1, 9.0), (0.8, 2, 1.777778), (0.8, 4, 0.745541)],
)
def test_mean_wait_closely(load: float, servers: int, expected: float) -> None:
    samples = [mean_wait(services("exponential", 150_000, s), load, servers, s) for s in range(20)]
    mean, half = interval(samples)
    assert half < 0.06 * expected
    assert abs(mean - expected) <= half + 0.01 * expected


def test_littles_law_holds_on_every_run() -> None:
    """Requests in the system, integrated over time, are the times in system, summed: exactly."""
    rng = np.random.default_rng(5)
    requests = [
        (int(a), int(p), int(o))
        for a, p, o in zip(
            np.cumsum(rng.integers(1, 10**10, 500)),
            rng.integers(1, 900, 500),
            rng.integers(1, 200, 500),
            strict=True,
        )
    ]
    columns = simulate_deployment(SCENARIO, deployment(replicas=2), workload(requests)).requests
    events = sorted(
        [(int(t), 1) for t in columns.arrival] + [(int(t), -1) for t in columns.last_token]
    )
    area, present, before = 0, 0, 0
    for now, change in events:
        area += present * (now - before)
        present, before = present + change, now
    assert present == 0
    assert area == int((columns.last_token - columns.arrival).sum())
