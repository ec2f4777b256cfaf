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

from hermes.scenario import build_scenario
from hermes.sim import simulate
from hermes.sim.simulation import SimulationResult, simulate_deployment
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
    if kind == "hyperexponential":  # balanced means, cv^2 = 4
        share = (1 + math.sqrt((4 - 1) / (4 + 1))) / 2
        quick = rng.random(size) < share
        mean = np.where(quick, MEAN_STEPS / (2 * share), MEAN_STEPS / (2 * (1 - share)))
        return rng.geometric(1 / mean)
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "load", "servers", "expected"),
    [
        ("constant", 0.5, 1, 0.5),  # M/D/1
        ("hyperexponential", 0.6, 1, pollaczek_khinchine(0.6, 4.0)),  # M/G/1
        ("lognormal", 0.7, 1, pollaczek_khinchine(0.7, 2.0)),
        ("exponential", 0.8, 8, 0.286028),  # M/M/c, Erlang C
        ("exponential", 0.9, 16, 0.369590),
    ],
)
def test_mean_wait_of_more_queues(kind: str, load: float, servers: int, expected: float) -> None:
    samples = [mean_wait(services(kind, 120_000, s), load, servers, s) for s in range(20)]
    mean, half = interval(samples)
    assert half < 0.1 * expected
    assert abs(mean - expected) <= half + 0.015 * expected


def sojourns(load: float, size: int, seed: int) -> np.ndarray:
    """Return times in an M/M/1 system, in units of the mean service time."""
    rng = np.random.default_rng([seed, 3])
    arrivals = np.cumsum(rng.exponential(MEAN_STEPS * STEP / load, size)).astype(np.int64)
    service = services("exponential", size, seed)
    requests = [(int(a), 1, int(s)) for a, s in zip(arrivals, service, strict=True)]
    plan = deployment(bounds=limits(max_num_seqs=1), costs=linear(1, 0, 0))
    columns = simulate_deployment(SCENARIO, plan, workload(requests)).requests
    return (columns.last_token - columns.arrival)[size // 10 :] / (MEAN_STEPS * STEP)


def test_the_tail_of_the_time_in_an_mm1_system() -> None:
    """Time in system is exponential with mean 1 / (1 - load): P99 is ln 100 times that."""
    samples = [float(np.quantile(sojourns(0.5, 14_000, seed), 0.99)) for seed in range(10)]
    mean, half = interval(samples)
    assert half < 0.14 * 9.2103
    assert abs(mean - 9.2103) <= half + 0.01 * 9.2103


@pytest.mark.parametrize(("load", "size"), [(0.5, 6_000), (0.8, 8_000)])
@pytest.mark.parametrize("kind", ["exponential", "constant"])
def test_a_batch_whose_steps_take_as_long_as_it_is_large_is_processor_sharing(
    kind: str, load: float, size: int
) -> None:
    """M/G/1-PS: the mean time in system is service / (1 - load), whatever the distribution."""
    samples = []
    for seed in range(10):
        rng = np.random.default_rng([seed, 4])
        arrivals = np.cumsum(rng.exponential(MEAN_STEPS * STEP / load, size)).astype(np.int64)
        service = services(kind, size, seed)
        requests = [(int(a), 1, int(s)) for a, s in zip(arrivals, service, strict=True)]
        bounds = limits(max_num_seqs=2_000, max_num_batched_tokens=4_000)
        plan = deployment(bounds=bounds, costs=linear(0.001, 1, 0))
        columns = simulate_deployment(SCENARIO, plan, workload(requests)).requests
        inside = (columns.last_token - columns.arrival)[size // 10 :]
        samples.append(float(inside.mean()) / (MEAN_STEPS * STEP))
    mean, half = interval(samples)
    expected = 1 / (1 - load)
    assert half < 0.2 * expected
    assert abs(mean - expected) <= half + 0.02 * expected  # shares come in steps, not at once


def test_constant_arrivals_and_services_are_exact() -> None:
    """D/D/1 below, at and above saturation, to the tick."""
    service = 50
    for gap in (80, 50, 20):
        requests = [(i * gap * STEP, 1, service) for i in range(200)]
        plan = deployment(bounds=limits(max_num_seqs=1), costs=linear(1, 0, 0))
        columns = simulate_deployment(SCENARIO, plan, workload(requests)).requests
        late = max(0, service - gap) * STEP
        waits = (columns.scheduled - columns.arrival).tolist()
        assert waits == [i * late for i in range(200)]
        assert (columns.last_token - columns.scheduled).tolist() == [service * STEP] * 200
        if late:
            span = int(columns.last_token[-1] - columns.arrival[0])
            assert span == 200 * service * STEP


def closed(users: int, think: float, means: tuple[float, ...], requests: int) -> SimulationResult:
    """Users who think, then pass stations of one server each; times in milliseconds."""
    names = [f"s{i}" for i in range(len(means))]
    return simulate(
        build_scenario(
            {
                "workload": {
                    "requests": {"lengths": {"prompt": 1, "output": 1}},
                    "arrivals": {
                        "process": "closed_loop",
                        "users": users,
                        "think_s": think / 1000,
                    },
                    "limit": {"requests": requests},
                },
                "pipelines": {
                    "default": [
                        {"tool": {"client": name, "latency_ms": {"exponential": {"mean": mean}}}}
                        for name, mean in zip(names, means, strict=True)
                    ]
                },
                "clients": {name: {"serves": ["tool"], "max_concurrency": 1} for name in names},
            }
        )
    )


def mean_value_analysis(users: int, think: float, means: tuple[float, ...]) -> tuple[float, float]:
    """Return throughput and time in system of a closed network, by Reiser and Lavenberg (1980)."""
    lengths = [0.0] * len(means)
    for present in range(1, users + 1):
        times = [mean * (1 + length) for mean, length in zip(means, lengths, strict=True)]
        throughput = present / (think + sum(times))
        lengths = [throughput * time for time in times]
    return throughput, sum(times)


@pytest.mark.parametrize("users", [1, 8, 32])
def test_a_closed_network_has_the_throughput_of_mean_value_analysis(users: int) -> None:
    throughput, inside = mean_value_analysis(users, 5.0, (1.0, 0.5))
    result = closed(users, 5.0, (1.0, 0.5), 30_000)
    assert result.summary["request_throughput"] == pytest.approx(1000 * throughput, rel=0.02)
    assert result.summary["e2el_ms.mean"] == pytest.approx(inside, rel=0.05)


def test_mean_value_analysis_itself() -> None:
    assert mean_value_analysis(1, 5.0, (1.0, 0.5)) == pytest.approx((0.153846, 1.5), rel=1e-5)
    assert mean_value_analysis(8, 5.0, (1.0, 0.5)) == pytest.approx((0.884522, 4.044436), rel=1e-5)


def test_a_loop_over_two_stations_is_a_jackson_network() -> None:
    """Feedback: each round goes on with one half; stations hold rho / (1 - rho) on average."""
    rounds, rate = 2.0, 0.2  # per millisecond
    means = (1.0, 1.5)
    result = simulate(
        build_scenario(
            {
                "workload": {
                    "requests": {"lengths": {"prompt": 1, "output": 1}},
                    "arrivals": {"process": "poisson", "rate_per_s": rate * 1000},
                    "limit": {"requests": 30_000},
                },
                "pipelines": {
                    "default": [
                        {
                            "loop": {
                                "times": {"geometric": {"mean": rounds}},
                                "stages": [
                                    {"tool": {"client": name, "latency_ms": latency}}
                                    for name, latency in (
                                        ("s0", {"exponential": {"mean": means[0]}}),
                                        ("s1", {"exponential": {"mean": means[1]}}),
                                    )
                                ],
                            }
                        }
                    ]
                },
                "clients": {
                    name: {"serves": ["tool"], "max_concurrency": 1} for name in ("s0", "s1")
                },
            }
        )
    )
    loads = [rate * rounds * mean for mean in means]
    present = sum(load / (1 - load) for load in loads)
    expected = present / rate  # Little
    assert result.summary["e2el_ms.mean"] == pytest.approx(expected, rel=0.06)
