"""Closed loops: users who wait for their answer, against the exact machine-repair model."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import fmean, stdev

import numpy as np
import pytest

from hermes.errors import InputError
from hermes.scenario.loading import build_scenario
from hermes.sim import simulate
from hermes.sim.deployment import resolve
from hermes.sim.simulation import simulate_deployment
from hermes.workload import ClosedLoop, build_workload
from tests.sim.deployments import deployment, limits, linear, workload
from tests.sim.test_against_oracle import SCENARIO

STEP = 10**6
MEAN_STEPS = 200
SERVICE = MEAN_STEPS * STEP
STUDENT_999 = 4.781  # two-sided 99.9 %, 9 degrees of freedom


def machine_repair(users: int, servers: int, think: float) -> tuple[float, float]:
    """Return throughput and mean response of M/M/c//N, mean service 1, by its balance."""
    weights = [1.0]
    for n in range(1, users + 1):
        weights.append(weights[-1] * (users - n + 1) / think / min(n, servers))
    busy = [weight * min(n, servers) for n, weight in enumerate(weights)]
    throughput = math.fsum(busy) / math.fsum(weights)
    return throughput, users / throughput - think


def measured(users: int, servers: int, think: float, seed: int, size: int) -> tuple[float, float]:
    rng = np.random.default_rng([seed, 7])
    steps = rng.geometric(1 / MEAN_STEPS, size)
    requests = workload([(0, 1, int(s)) for s in steps])
    thinking = np.rint(rng.exponential(think * SERVICE, size)).astype(np.int64)
    requests = replace(requests, closed_loop=ClosedLoop(users, thinking))
    plan = deployment(bounds=limits(max_num_seqs=servers), costs=linear(1, 0, 0))
    columns = simulate_deployment(SCENARIO, plan, requests).requests
    order = np.sort(columns.finished)
    cut = size // 10
    # The last requests find fewer users; until the queue is empty all of them are there.
    end = int(np.sort(columns.arrival)[-1])
    counted = order[(order > order[cut]) & (order <= end)]
    throughput = (len(counted) - 1) / ((counted[-1] - counted[0]) / SERVICE)
    inside = (columns.arrival > order[cut]) & (columns.arrival < end)
    response = (columns.finished - columns.arrival)[inside] / SERVICE
    return float(throughput), float(response.mean())


@pytest.mark.parametrize(
    ("users", "servers", "think"), [(1, 1, 5.0), (8, 1, 5.0), (4, 1, 1.0), (12, 3, 4.0)]
)
def test_throughput_and_response_are_those_of_the_machine_repair_model(users, servers, think):
    samples = [measured(users, servers, think, seed, 6_000) for seed in range(10)]
    for exact, found in zip(machine_repair(users, servers, think),
                            zip(*samples, strict=True), strict=True):  # fmt: skip
        half = STUDENT_999 * stdev(found) / math.sqrt(len(found))
        assert half < 0.08 * exact
        assert abs(fmean(found) - exact) <= half + 0.01 * exact  # arrivals are seen at step ends


def test_the_exact_values_are_the_published_ones():
    """One station of mean 1, think 5: by mean value analysis, R(n) = 1 + Q(n - 1)."""
    queue = 0.0
    for users in range(1, 33):
        response = 1 + queue
        throughput = users / (5 + response)
        queue = throughput * response
        assert machine_repair(users, 1, 5.0) == pytest.approx((throughput, response))


BASE = {
    "workload": {
        "requests": {"lengths": {"prompt": 64, "output": {"uniform": {"low": 1, "high": 32}}}},
        "arrivals": {"process": "closed_loop", "users": 5, "think_s": 0.05},
        "limit": {"requests": 120},
    },
    "clients": {
        "chat": {"model": "llama-3.1-8b", "device": "h100-sxm", "replicas": 2,
                 "costs": {"linear": {"step_us": 4000, "token_us": 20}}},
    },
}  # fmt: skip


def simulated(check: bool = True, **workload_block):
    content = BASE | {"workload": BASE["workload"] | workload_block}
    return simulate(build_scenario(content), check=check)


def most_under_way(requests) -> int:
    changes = sorted(
        [(int(t), 1) for t in requests.arrival] + [(int(t), -1) for t in requests.finished]
    )
    under_way = most = 0
    for _, change in changes:  # an answer at the tick of a question comes first
        under_way += change
        most = max(most, under_way)
    return most


def test_never_more_requests_are_under_way_than_there_are_users():
    for users in (1, 3, 40):
        arrivals = {"process": "closed_loop", "users": users}
        requests = simulated(arrivals=arrivals).requests
        assert most_under_way(requests) == users
        assert requests.completed.all()
        assert (np.bincount(requests.arrival == 0)[-1]) == users


def test_a_user_asks_again_when_it_has_its_answer_and_has_thought():
    arrivals = {"process": "closed_loop", "users": 1, "think_s": 0.25, "think": "constant"}
    requests = simulated(arrivals=arrivals).requests
    assert requests.arrival[0] == 25 * 10**10
    assert (requests.arrival[1:] - requests.finished[:-1] == 25 * 10**10).all()


def test_the_response_time_law_holds():
    """Users = throughput x (response + think), over a run that is long enough."""
    arrivals = {"process": "closed_loop", "users": 20, "think_s": 0.3, "think": "constant"}
    summary = simulated(arrivals=arrivals, limit={"requests": 4000}).summary
    users = summary["request_throughput"] * (summary["e2el_ms.mean"] / 1000 + 0.3)
    assert users == pytest.approx(20, rel=0.02)


def test_equal_seeds_are_equal_bits_and_undisturbed_steps_may_be_taken_together():
    scenario = build_scenario(BASE)
    plan = resolve(scenario, None)
    requests = build_workload(scenario.workload, tuple(scenario.pipelines), 0, None)
    runs = [simulate_deployment(scenario, plan, requests, fast) for fast in (True, True, False)]
    for run in runs[1:]:
        assert (run.requests.arrival == runs[0].requests.arrival).all()
        assert (run.requests.finished == runs[0].requests.finished).all()
        assert run.summary["itl_ms.p99"] == runs[0].summary["itl_ms.p99"]
    assert not requests.arrival_ticks.any(), "a run must not write into what others share"


def test_who_is_refused_goes_on():
    lengths = {"lengths": {"prompt": {"uniform": {"low": 64, "high": 250_000}}, "output": 4}}
    arrivals = {"process": "closed_loop", "users": 3, "think_s": 0.1}
    requests = simulated(arrivals=arrivals, requests=lengths).requests
    assert 20 < (~requests.completed).sum() < 100
    assert (requests.arrival[3:] > 0).all()


def test_requests_of_several_stages_are_waited_for():
    content = BASE | {
        "pipelines": {"agent": [{"generate": {}}, {"generate": {"prompt_tokens": 20,
                                                                "output_tokens": 3}}]},
    }  # fmt: skip
    requests = simulate(build_scenario(content), check=True).requests
    assert most_under_way(requests) == 5
    assert requests.completed.all()


def test_other_thinking_leaves_the_requests_alone():
    before = simulated(arrivals={"process": "closed_loop", "users": 5}).requests
    after = simulated(arrivals={"process": "closed_loop", "users": 9, "think_s": 3.0}).requests
    assert (before.output_tokens == after.output_tokens).all()


def test_a_closed_loop_ends_by_a_number_of_requests():
    with pytest.raises(InputError, match=r"limit: .*give limit.requests instead of"):
        simulated(limit={"duration_s": 60})
