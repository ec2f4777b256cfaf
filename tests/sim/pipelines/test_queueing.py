"""Queueing theory through stations: workers, encoders, tools, batches, networks of them.

Exact values from Kleinrock (1975), Jackson (1957), Bailey (1954) and the machine-repair model;
intervals are 99.9 % over independent replications, and must be narrow enough to mean something.
"""

from __future__ import annotations

import math
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest

from hermes.scenario.scenario import Scenario
from hermes.workload import Workload
from tests.sim.pipelines.build import CPU, MS, built, call, requests_of, run, work

STUDENT_999 = 4.781  # two-sided 99.9 %, 9 degrees of freedom
EXPONENTIAL = {"exponential": {"mean": 10}}
UNIFORM = {"uniform": {"low": 0, "high": 20}}
LOGNORMAL = {"lognormal": {"mean": 10, "cv": 1.5}}


def interval(samples: list[float]) -> tuple[float, float]:
    assert len(samples) == 10
    return fmean(samples), STUDENT_999 * stdev(samples) / math.sqrt(len(samples))


def poisson(scenario: Scenario, rate_per_ms: float, size: int, seed: int) -> Workload:
    gaps = np.random.default_rng([seed, 3]).exponential(1 / rate_per_ms, size)
    return requests_of(scenario, [(float(t), 1, 1) for t in np.cumsum(gaps)])


def waits(stages: list[Any], clients: dict[str, Any], rate: float, size: int) -> list[np.ndarray]:
    """Return, for each of ten replications, mean waits in ms at each stage, after a warm-up."""
    found = []
    for seed in range(10):
        scenario = built(stages, clients, seed=seed)
        result = run(scenario, poisson(scenario, rate, size, seed))
        log = result.requests.stages
        queue = log.queue.reshape(size, -1)[size // 10 :] / MS
        assert (log.stage.reshape(size, -1) == log.stage[: queue.shape[1]]).all()
        found.append(queue.mean(axis=0))
    return found


def erlang_c_wait(servers: int, load: float, service: float) -> float:
    """Return the mean wait of M/M/c at a load per server."""
    offered = servers * load
    idle = sum(offered**k / math.factorial(k) for k in range(servers))
    full = offered**servers / math.factorial(servers) / (1 - load)
    return full / (idle + full) * service / (servers * (1 - load))


@pytest.mark.parametrize(
    ("service", "workers", "load", "expected"),
    [
        (EXPONENTIAL, 1, 0.5, erlang_c_wait(1, 0.5, 10)),  # M/M/1: 10 ms
        (EXPONENTIAL, 3, 0.6, erlang_c_wait(3, 0.6, 10)),  # M/M/3
        (10, 1, 0.6, 10 * 0.6 / (2 * 0.4)),  # M/D/1
        (UNIFORM, 1, 0.6, 10 * 0.6 * (1 + 1 / 3) / (2 * 0.4)),  # M/G/1
    ],
)
def test_workers_are_servers_of_one_queue(service, workers, load, expected):
    clients = {"cpu": {**CPU, "workers": workers}}
    samples = waits([work(service)], clients, workers * load / 10, 5000)
    mean, half = interval([float(sample[0]) for sample in samples])
    assert half < 0.2 * expected
    assert abs(mean - expected) <= half


@pytest.mark.slow
def test_a_heavy_tail_waits_as_pollaczek_and_khinchine_say():
    expected = 10 * 0.5 * (1 + 1.5**2) / (2 * 0.5)
    samples = waits([work(LOGNORMAL)], {"cpu": CPU}, 0.05, 25_000)
    mean, half = interval([float(sample[0]) for sample in samples])
    assert half < 0.2 * expected
    assert abs(mean - expected) <= half


@pytest.mark.slow
def test_a_tandem_network_is_two_independent_queues():
    """Jackson: what leaves M/M/1 is Poisson, so each stage is as if alone."""
    clients = {"one": CPU, "two": {**CPU, "workers": 2}}
    stages = [work(EXPONENTIAL, client="one"), work({"exponential": {"mean": 16}}, client="two")]
    samples = waits(stages, clients, 0.06, 8000)
    for stage, expected in enumerate((erlang_c_wait(1, 0.6, 10), erlang_c_wait(2, 0.48, 16))):
        mean, half = interval([float(sample[stage]) for sample in samples])
        assert half < 0.2 * expected
        assert abs(mean - expected) <= half


@pytest.mark.slow
def test_a_network_with_feedback_has_jacksons_product_form():
    """A geometric loop of mean 2 through two queues: each sees twice the rate, as if Poisson."""
    clients = {"one": CPU, "two": CPU}
    body = [work({"exponential": {"mean": m}}, client=c) for m, c in ((6, "one"), (4, "two"))]
    scenario = built([{"loop": {"times": {"geometric": {"mean": 2}}, "stages": body}}], clients)
    samples = []
    for seed in range(10):
        changed = scenario.model_copy(update={"seed": seed})
        found = run(changed, poisson(changed, 0.06, 6000, seed)).requests
        samples.append(float((found.finished - found.arrival)[600:].mean()) / MS)
    loads = (0.06 * 2 * 6, 0.06 * 2 * 4)
    expected = sum(load / (1 - load) for load in loads) / 0.06  # Little
    mean, half = interval(samples)
    assert half < 0.15 * expected
    assert abs(mean - expected) <= half


def test_a_tool_with_bounded_concurrency_is_a_multi_server():
    stages = [{"tool": {"client": "web", "latency_ms": EXPONENTIAL}}]
    clients = {"web": {"serves": ["tool"], "max_concurrency": 4}}
    expected = erlang_c_wait(4, 0.6, 10)
    mean, half = interval([float(s[0]) for s in waits(stages, clients, 0.24, 6000)])
    assert half < 0.2 * expected
    assert abs(mean - expected) <= half


@pytest.mark.slow
@pytest.mark.parametrize("repairers", [1, 2])
def test_agents_that_share_a_tool_are_the_machine_repair_model(repairers):
    """Six agents, each thinking on its own worker, then calling the tool, again and again."""
    agents, think, repair, rounds = 6, 40, 20, 1500
    loop = {
        "loop": {
            "times": rounds,
            "stages": [
                work({"exponential": {"mean": think}}),
                {"tool": {"client": "web", "latency_ms": {"exponential": {"mean": repair}}}},
            ],
        }
    }
    clients = {
        "cpu": {**CPU, "workers": agents},
        "web": {"serves": ["tool"], "max_concurrency": repairers},
    }
    weights = [1.0]  # probabilities of so many broken machines, up to a factor
    for broken in range(agents):
        up, down = (agents - broken) / think, min(broken + 1, repairers) / repair
        weights.append(weights[-1] * up / down)
    broken = sum(n * w for n, w in enumerate(weights)) / sum(weights)
    throughput = (agents - broken) / think
    expected = broken / throughput - repair  # Little: the wait at the tool
    samples = []
    for seed in range(10):
        log = run(built([loop], clients, seed=seed), [(0, 1, 1)] * agents).requests.stages
        tool = log.stage == log.stage.max()
        cut = np.arange(tool.sum()) % rounds > rounds // 10
        samples.append(float(log.queue[tool][cut].mean()) / MS)
    mean, half = interval(samples)
    assert half < 0.1 * expected
    assert abs(mean - expected) <= half


def test_batches_of_constant_time_are_a_bulk_queue():
    """M/D^[1,b]/1: a server that takes up to b at once when free (Neuts' general bulk service).

    The number left behind by a batch is a Markov chain: from n, max(n - b, 0) are left and those
    come that arrive in a service; from 0 the server first waits for one. Solved here by iteration.
    """
    enc = {
        "serves": ["embed"],
        "device": "l40s",
        "models": ["multilingual-e5-base"],
        "max_num_seqs": 4,
    }
    stage = [{"embed": {"tokens": 64}}]
    alone = run(built(stage, {"enc": enc})).requests
    assert alone.completed.all()
    # Batches of other sizes take other times, so let the chain have those of this encoder.
    times = []
    for batch in range(1, 5):
        log = run(built(stage, {"enc": enc}), [(0, 1, 1)] * batch).requests
        times.append(float(log.finished.max()) / MS)
    rate = 0.8 * 4 / times[3]
    expected = _mean_wait_of_bulk(times, rate)
    mean, half = interval([float(s[0]) for s in waits(stage, {"enc": enc}, rate, 8000)])
    assert half < 0.1 * expected
    assert abs(mean - expected) <= half


def _mean_wait_of_bulk(times: list[float], rate: float, most: int = 300) -> float:
    """Return the mean wait where a batch of k <= len(times) takes times[k - 1]."""
    largest = len(times)
    rows = np.zeros((most, most))
    taken, durations = [], []
    for left in range(most):
        batch = min(max(left, 1), largest)
        taken.append(batch)
        durations.append(times[batch - 1])
        rest = max(left - batch, 0)
        mean = rate * times[batch - 1]
        come = np.array(
            [math.exp(-mean + k * math.log(mean) - math.lgamma(k + 1)) for k in range(most - rest)]
        )
        come[-1] += 1 - come.sum()
        rows[left, rest : rest + len(come)] = come
    left = np.full(most, 1 / most)
    for _ in range(3000):
        left = left @ rows
    # Waiting requests, integrated over a cycle: those who stay, and those who come meanwhile.
    rests = np.maximum(np.arange(most) - np.array(taken), 0)
    spans = np.array(durations)
    area = float(left @ (rests * spans + rate * spans**2 / 2))
    cycle = float(left @ spans) + float(left[0]) / rate
    return area / cycle / rate


def test_littles_law_holds_at_every_station():
    """Jobs there, integrated over time, are the times there, summed: exactly."""
    stages = [work(EXPONENTIAL, client="one"), work(LOGNORMAL, client="two"), call()]
    clients = {"one": CPU, "two": {**CPU, "workers": 2, "replicas": 2}}
    clients["llm"] = {"model": "llama-3.1-8b", "device": "h100-sxm"}
    scenario = built(stages, clients)
    found = run(scenario, poisson(scenario, 0.08, 600, 1)).requests
    log = found.stages
    assert int((found.finished - found.arrival).sum()) == int((log.end - log.begin).sum())
    for stage in range(3):
        here = log.stage == stage
        events = [(int(t), 1) for t in log.begin[here]] + [(int(t), -1) for t in log.end[here]]
        area = present = before = 0
        for now, change in sorted(events):
            area += present * (now - before)
            present, before = present + change, now
        assert present == 0
        assert area == int((log.end - log.begin)[here].sum())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("random", erlang_c_wait(1, 0.7, 10)),  # two queues of half the rate each
        ("round_robin", None),
        ("power_of_two", None),
        ("join_shortest_queue", None),
    ],
)
def test_routing_orders_waits_as_theory_has_it(policy, expected):
    """Random splits Poisson arrivals into two M/M/1; every other policy waits less."""
    samples = []
    for seed in range(10):
        scenario = built(
            [work(EXPONENTIAL)], {"cpu": {**CPU, "replicas": 2}}, seed=seed, routing={"cpu": policy}
        )
        log = run(scenario, poisson(scenario, 0.14, 6000, seed)).requests.stages
        samples.append(float(log.queue[600:].mean()) / MS)
    mean, half = interval(samples)
    random = erlang_c_wait(1, 0.7, 10)
    pooled = erlang_c_wait(2, 0.7, 10)
    if expected is not None:
        assert half < 0.2 * expected
        assert abs(mean - expected) <= half
    else:
        assert pooled < mean < random - half


def test_round_robin_halves_the_arrivals_into_erlang_gaps():
    """E2/M/1: with gaps of two exponential phases, the wait is sigma / (1 - sigma) services."""
    sigma, rate, service = 0.5, 0.14, 10.0
    for _ in range(200):  # the root of sigma = A*(mu (1 - sigma))
        sigma = (rate / (rate + (1 - sigma) / service)) ** 2
    expected = service * sigma / (1 - sigma)
    samples = []
    for seed in range(10):
        scenario = built(
            [work(EXPONENTIAL)],
            {"cpu": {**CPU, "replicas": 2}},
            seed=seed,
            routing={"cpu": "round_robin"},
        )
        log = run(scenario, poisson(scenario, rate, 8000, seed)).requests.stages
        samples.append(float(log.queue[800:].mean()) / MS)
    mean, half = interval(samples)
    assert half < 0.2 * expected
    assert abs(mean - expected) <= half
