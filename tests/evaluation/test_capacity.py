"""Capacity: the highest load at which the attainment holds, found exactly and cheaply."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.errors import InputError
from hermes.evaluation import CAPACITY_METRICS
from hermes.evaluation.capacity import ladder_search, scaled
from hermes.evaluation.statistics import half_width
from hermes.metrics import METRICS
from hermes.metrics.summary import good_requests
from tests.evaluation.candidates import capacity_columns, columns, runner

STRIDES = [4, 12, 28, 48]


@given(st.integers(-60, 60))
def test_the_search_finds_the_last_step_that_holds(edge):
    asked = []

    def holds(step):
        asked.append(step)
        return step <= edge

    found = ladder_search(holds, STRIDES)
    assert found == (None if edge < -48 else min(edge, 48))
    assert len(asked) <= 12


def test_the_load_found_holds_and_the_next_one_does_not():
    found = capacity_columns()
    load = found["capacity_load"]
    assert found["slo_attainment"] >= 0.9
    at = runner(workload=with_rate(load))
    assert at.run(0, at.workload(0)).summary["slo_attainment"] == found["slo_attainment"]
    above = runner(workload=with_rate(load * 1.02))
    assert above.run(0, above.workload(0)).summary["slo_attainment"] < 0.9


def with_rate(rate):
    return {"arrivals": {"process": "poisson", "rate_per_s": rate}}


@pytest.mark.parametrize("rate", [1.0, 20.0, 45.0, 49.0, 52.0, 300.0])
def test_stopping_early_never_changes_a_verdict(rate):
    candidate = runner(workload=with_rate(rate))
    for seed in range(6):
        load = candidate.workload(seed)
        early = candidate.holds(seed, load, 30)
        good = good_requests(candidate.run(seed, load).requests, candidate.scenario.slo)[30:]
        assert early == (good.sum() / 270 >= 0.9)


def test_an_overloaded_simulation_is_left_after_its_first_misses_and_says_so():
    candidate = runner(workload=with_rate(500))
    assert not candidate.holds(0, candidate.workload(0), 0)
    assert candidate.tally.finished < 150
    assert candidate.tally.saved > 0.5
    found = capacity_columns(workload=with_rate(500))
    assert 0 < found["evaluation_saved"] < 1
    assert found["evaluation_simulations"] < 25


@pytest.mark.parametrize("rate", [2.0, 20.0, 700.0])
def test_where_the_search_starts_does_not_matter(rate):
    found = capacity_columns(workload=with_rate(rate))["capacity_load"]
    assert found == pytest.approx(capacity_columns()["capacity_load"], rel=0.03)


def test_goodput_follows_from_the_capacity():
    found = capacity_columns()
    rate, price = found["capacity_request_rate"], found["cost_per_hour"]
    assert rate == found["capacity_load"]
    assert found["capacity_goodput"] == pytest.approx(rate * found["slo_attainment"])
    assert found["goodput_per_device"] == found["capacity_goodput"] / found["devices"]
    assert found["goodput_per_usd"] == found["capacity_goodput"] * 3600 / price
    assert set(found) == {*METRICS, *CAPACITY_METRICS, "evaluation_simulations",
                          "evaluation_saved"}  # fmt: skip


def test_more_replicas_and_a_looser_slo_carry_more():
    base = capacity_columns()["capacity_request_rate"]
    two = capacity_columns(clients={"chat": runner().scenario.clients["chat"].model_dump(
        mode="json", exclude_unset=True) | {"replicas": 2}})  # fmt: skip
    assert two["capacity_request_rate"] > 1.8 * base
    assert two["goodput_per_device"] > 0.9 * base * 0.9
    assert capacity_columns(slo={"ttft_ms": 400})["capacity_request_rate"] >= base
    assert capacity_columns(slo={"attainment": 0.99})["capacity_request_rate"] <= base


def test_the_interval_comes_from_the_spread_of_the_seeds_own_capacities():
    found = columns({"capacity": {}, "replicates": 4})
    alone = [capacity_columns(seed=seed)["capacity_load"] for seed in range(4)]
    assert found["capacity_load"] == pytest.approx(sum(alone) / 4, rel=0.02)
    assert found["capacity_load.ci95"] == pytest.approx(half_width(alone), rel=0.5)
    assert found["capacity_load.ci95"] > 0
    assert found["slo_attainment"] >= 0.9


def test_later_seeds_search_where_the_first_one_ended():
    one = capacity_columns(workload=with_rate(0.5))["evaluation_simulations"]
    five = columns({"capacity": {}, "replicates": 5}, workload=with_rate(0.5))
    assert five["evaluation_simulations"] < 4 * one


def test_seeds_are_added_until_the_capacity_is_known_well_enough():
    rule = {"capacity": {}, "replicates": {"precision": 0.05, "most": 40}}
    found = columns(rule, ("capacity_request_rate",))
    assert found["capacity_load.ci95"] <= 0.05 * found["capacity_load"]


def test_an_slo_that_even_an_idle_deployment_misses_is_a_capacity_of_nothing():
    found = capacity_columns(slo={"ttft_ms": 1})
    assert found["capacity_request_rate"] == found["goodput_per_usd"] == 0
    assert found["ttft_ms.p99"] is None
    assert found["devices"] == 1
    assert found["evaluation_saved"] > 0.5


def test_an_slo_that_any_load_meets_is_refused_with_advice():
    with pytest.raises(InputError, match="the SLO holds even at 4096 times this load"):
        capacity_columns(slo={"ttft_ms": 1e12})


@pytest.mark.parametrize(
    ("arrivals", "load"),
    [
        ({"process": "gamma", "rate_per_s": 5, "cv": 2}, 10.0),
        ({"process": "constant", "rate_per_s": 5}, 10.0),
        ({"process": "diurnal", "mean_rate_per_s": 5, "peak_to_mean": 1.5, "period_s": 60}, 10.0),
        ({"process": "piecewise", "pieces": [{"duration_s": 9, "rate_per_s": 5}]}, 2.0),
    ],
)
def test_every_process_with_a_rate_can_be_scaled(arrivals, load):
    scenario = runner(workload={"arrivals": arrivals}).scenario
    changed, written = scaled(scenario, 2.0)
    assert written == load
    assert "10.0" in repr(changed)


def test_a_burst_has_no_load_to_search():
    scenario = runner(workload={"arrivals": {"process": "burst"}}).scenario
    with pytest.raises(InputError, match="a burst has no rate to search"):
        scaled(scenario, 2.0)


def test_a_trace_is_scaled_and_its_own_rate_counts():
    sample = {"requests": {"sample": "chat"}, "arrivals": {"process": "poisson", "rate_per_s": 4},
              "limit": {"requests": 200}}  # fmt: skip
    found = capacity_columns(workload=sample)
    assert found["capacity_load"] == found["capacity_request_rate"]


@pytest.mark.slow
def test_intervals_cover_what_many_seeds_agree_on():
    """19 of 20 intervals hold the truth; 100 of them, by chance, at least 88."""
    truth = columns({"capacity": {}, "replicates": 400})["capacity_load"]
    hits = 0
    for trial in range(100):
        found = columns({"capacity": {}, "replicates": 5}, seed=1000 + 5 * trial)
        hits += abs(found["capacity_load"] - truth) <= found["capacity_load.ci95"]
    assert hits >= 88


# --- Concurrency ------------------------------------------------------------------------------


CLOSED = {
    "workload": {"arrivals": {"process": "closed_loop", "users": 8}},
    "slo": {"ttft_ms": 200, "attainment": 0.9},
}


def test_the_capacity_of_a_closed_loop_is_the_most_users_that_meet_the_slo():
    found = columns({"capacity": {"precision": 0.01}}, **CLOSED)

    def holds(users):
        arrivals = {"process": "closed_loop", "users": users}
        one = runner(workload={"arrivals": arrivals}, slo=CLOSED["slo"])
        return (one.run(0, one.workload(0)).summary["slo_attainment"] or 0) >= 0.9

    exact = next(users for users in range(1, 99) if not holds(users + 1))
    assert found["capacity_load"] == exact
    assert found["capacity_request_rate"] == found["request_throughput"]
    assert found["capacity_goodput"] == pytest.approx(found["request_goodput"])


def test_a_deployment_that_misses_its_slo_with_a_single_user_has_no_capacity():
    found = columns({"capacity": {}}, **CLOSED | {"slo": {"ttft_ms": 0.1, "attainment": 0.9}})
    assert found["capacity_load"] == 0
    assert found["evaluation_simulations"] <= 5, "a load that was tried is not tried again"
