"""Replicates, warm-up cuts and batches: metrics that say how sure they are."""

from __future__ import annotations

import math

import pytest

from hermes.evaluation import EvaluationSpec, evaluation_columns
from hermes.evaluation.statistics import half_width
from hermes.metrics import METRICS
from tests.evaluation.candidates import columns, runner

TTFT = "ttft_ms.p99"


def summaries(seeds):
    return [(one := runner()).run(seed, one.workload(seed)).summary for seed in seeds]


def test_replicates_are_the_seeds_that_follow_and_metrics_are_their_means():
    found = columns({"replicates": 4})
    values = [one[TTFT] for one in summaries(range(4))]
    assert found[TTFT] == pytest.approx(sum(values) / 4)
    assert found[TTFT + ".ci95"] == pytest.approx(half_width(values))
    assert found["evaluation_simulations"] == 4


def test_seeds_are_added_until_the_interval_is_tight_enough():
    rule = {"replicates": {"precision": 0.05, "most": 200}}
    found = columns(rule, ("ttft_ms.mean",))
    width = found["ttft_ms.mean.ci95"]
    assert width <= 0.05 * found["ttft_ms.mean"]
    count = int(found["evaluation_simulations"])
    assert 3 < count < 200
    assert half_width([one["ttft_ms.mean"] for one in summaries(range(count - 1))]) > width
    assert columns(rule, ("devices",))["evaluation_simulations"] == 3


def test_a_warm_up_loads_the_system_but_is_not_counted():
    plain, cut = columns({}), columns({"warm_up": 0.5})
    assert cut["requests"] == plain["requests"] / 2 == 150
    result = (one := runner()).run(0, one.workload(0))
    ttft = (result.requests.first_token - result.requests.arrival)[150:] / 1e9
    assert cut["ttft_ms.mean"] == pytest.approx(ttft.mean())
    for whole in ("steps", "utilization", "itl_ms.p50", "power_w", "cost_per_hour"):
        assert cut[whole] == plain[whole]


def test_batches_of_one_run_give_intervals_without_another_run():
    found = columns({"batches": 10})
    plain = columns({})
    assert {name: found[name] for name in METRICS} == {name: plain[name] for name in METRICS}
    assert found["ttft_ms.mean.ci95"] > 0
    assert found["evaluation_simulations"] == 1
    # Ten batches of one run and ten runs tell the same story.
    many = columns({"replicates": 10})
    ratio = found["ttft_ms.mean.ci95"] / many["ttft_ms.mean.ci95"]
    assert 1 < ratio < 10  # a tenth of the requests each: about the root of ten


@pytest.mark.parametrize("spec", [{}, {"replicates": 2}, {"batches": 5}, {"warm_up": 0.2},
                                  {"capacity": {}, "replicates": 2}])  # fmt: skip
def test_the_columns_announced_hold_the_columns_that_come(spec):
    judged = EvaluationSpec.model_validate(spec)
    cost = () if not judged.plain else ("evaluation_simulations", "evaluation_saved")
    announced = {*METRICS, *evaluation_columns(judged), *cost}
    assert set(columns(spec)) <= announced


# --- As many requests as it takes ---------------------------------------------------------------

MANY = {"workload": {"limit": {"requests": 5400}}}


def test_a_run_is_as_long_as_its_precision_asks_and_is_that_of_so_many_requests():
    found = columns({"batches": 10, "batch_precision": 0.2}, ("tpot_ms.mean",), **MANY)
    assert found["requests"] == 600
    assert found["evaluation_saved"] == pytest.approx(8 / 9)
    alone = columns({"batches": 10}, workload={"limit": {"requests": 600}})
    cost = {"evaluation_saved", "evaluation_simulations"}
    assert {n: v for n, v in found.items() if n not in cost} == {
        n: v for n, v in alone.items() if n not in cost
    }
    assert found["tpot_ms.mean.ci95"] <= 0.2 * found["tpot_ms.mean"]


def test_a_precision_out_of_reach_takes_all_requests_and_says_what_looking_cost():
    found = columns({"batches": 10, "batch_precision": 1e-9}, ("ttft_ms.p99",), **MANY)
    whole = columns({"batches": 10}, **MANY)
    assert found["requests"] == 5400
    assert found["ttft_ms.p99"] == whole["ttft_ms.p99"]
    assert found["evaluation_saved"] == pytest.approx(-4 / 9)


def test_short_batches_say_too_little_to_stop_at():
    found = columns({"batches": 10, "batch_precision": 1.0}, ("tpot_ms.mean",))
    assert found["requests"] == 300
    assert found["evaluation_simulations"] == 1


@pytest.mark.slow
def test_at_moderate_load_four_of_five_intervals_that_ended_a_run_hold_the_truth():
    seeds, metric = range(200), "ttft_ms.mean"
    short = [
        columns({"batches": 10, "batch_precision": 0.1}, (metric,), seed=seed, **MANY)
        for seed in seeds
    ]
    truth = math.fsum(one[metric] * one["requests"] for one in short) / math.fsum(
        one["requests"] for one in short
    )
    held = sum(abs(one[metric] - truth) <= one[metric + ".ci95"] for one in short)
    assert held >= 150  # 163; of 95 % intervals, which stopping at the first narrow one spoils
