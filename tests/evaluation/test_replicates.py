"""Replicates, warm-up cuts and batches: metrics that say how sure they are."""

from __future__ import annotations

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
