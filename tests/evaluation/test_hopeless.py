"""A simulation ends once a limit is certainly missed: certain, and never otherwise."""

import pytest

from hermes.evaluation import Bound, Hopeless, HopelessError
from hermes.sweeps.constraint import Constraint
from tests.evaluation.candidates import runner

LIMITS = {
    "ttft_ms.p99": ("<=", (10, 30, 60, 100, 200, 400, 1000)),
    "ttft_ms.p50": ("<=", (10, 30, 60, 100, 200, 400, 1000)),
    "ttft_ms.mean": ("<=", (10, 30, 60, 100, 200, 400, 1000)),
    "tpot_ms.p95": ("<=", (4, 4.05, 4.1, 5)),
    "tpot_ms.mean": ("<=", (4, 4.05, 4.1, 5)),
    "e2el_ms.p90": ("<=", (50, 100, 200, 400, 1000)),
    "slo_attainment": (">=", (0.5, 0.9, 0.99, 1.0)),
}


def verdict(one, bound):
    workload = one.workload(0)
    watch = Hopeless((bound,), one.scenario.slo, workload, one.deployment)
    try:
        one.run(0, workload, watch)
    except HopelessError as error:
        return str(error), watch.finished
    return "", watch.finished


@pytest.mark.parametrize("rate", [12, 40, 70, 120])
@pytest.mark.parametrize("metric", LIMITS)
def test_who_is_ended_would_have_missed_and_the_metric_is_never_called_hopeless_by_chance(
    metric, rate
):
    one = runner(workload={"arrivals": {"process": "poisson", "rate_per_s": rate}})
    summary = one.run(0, one.workload(0)).summary
    sign, limits = LIMITS[metric]
    for limit in limits:
        missed = Constraint(metric, sign, float(limit)).excess(summary) > 0
        said, finished = verdict(one, Bound(metric, sign, float(limit)))
        if said:
            assert missed, "it was not hopeless"
            assert finished <= 300
        elif "mean" not in metric and not metric.startswith("tpot"):
            # Every request is heard of in the end, so what is missed is found out.
            assert not missed


def test_an_overloaded_deployment_is_given_up_early_and_says_so():
    one = runner(workload={"arrivals": {"process": "poisson", "rate_per_s": 400}})
    said, finished = verdict(one, Bound("ttft_ms.p99", "<=", 200.0))
    assert finished < 60
    assert said == f"ttft_ms.p99 is certain to miss <= 200 after {finished} of 300 requests"


@pytest.mark.parametrize(
    "bound",
    [
        Bound("request_throughput", ">=", 1e9),
        Bound("ttft_ms.p99", ">=", 1e9),
        Bound("cost_per_hour", "<=", 0.0),
    ],
)
def test_limits_that_say_nothing_of_single_requests_end_nothing(bound):
    assert verdict(runner(), bound)[0] == ""
