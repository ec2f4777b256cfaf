"""Classes of requests: who is served first, by how much, and what counts as good for whom."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes.errors import InputError
from hermes.metrics import summarize_kinds
from hermes.scenario import build_scenario
from hermes.scenario.scenario import SloSpec
from hermes.sim import simulate
from hermes.sim.classes import RateLimits, RequestClass, RequestClasses
from hermes.sim.queues import FairQueue
from hermes.sim.sequence import Sequence
from tests.sim.operations.cases import facts

LINEAR = {"linear": {"step_us": 1000, "token_us": 0, "context_token_ns": 0}}


def scenario(classes: object, rate: float = 400, order: str = "fair", **client: object):
    return build_scenario(
        {
            "seed": 5,
            "workload": {
                "requests": {"lengths": {"prompt": 20, "output": 10}},
                "arrivals": {"process": "poisson", "rate_per_s": rate},
                "limit": {"requests": 400},
            },
            "clients": {
                "chat": {
                    "model": "llama-3.1-8b",
                    "device": "h100-sxm",
                    "costs": LINEAR,
                    "max_num_seqs": 1,
                    "scheduling_policy": order,
                    **client,
                }
            },
            "classes": classes,
        }
    )


def tenants(*shares: float) -> list[RequestClass]:
    return [
        RequestClass(number, f"t{number}", share, None, SloSpec())
        for number, share in enumerate(shares)
    ]


def call(number: int, tenant: RequestClass, prompt: int, output: int) -> Sequence:
    sequence = Sequence(number, number, prompt, output)
    sequence.tenant = tenant
    return sequence


def cost(sequence: Sequence) -> float:
    assert sequence.tenant is not None
    return (sequence.prompt_tokens + 2 * sequence.output_tokens) / sequence.tenant.share


lengths = st.tuples(st.integers(1, 500), st.integers(1, 200))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(lengths, min_size=1, max_size=30), min_size=2, max_size=4),
    st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=4, max_size=4),
)
def test_service_of_tenants_that_wait_differs_by_one_request_at_most(
    asked: list[list[tuple[int, int]]], shares: list[float]
) -> None:
    """As long as both have requests in the queue, whatever they ask for and how much of it."""
    queue, owners, number = FairQueue(), tenants(*shares[: len(asked)]), 0
    for owner, requests in zip(owners, asked, strict=True):
        for prompt, output in requests:
            queue.push(call(number, owner, prompt, output))
            number += 1
    largest = max(cost(sequence) for sequence in queue)
    served: dict[int, float] = defaultdict(float)
    left = {owner.number: len(requests) for owner, requests in zip(owners, asked, strict=True)}
    while len(queue):
        sequence = queue.pop_head()
        assert sequence.tenant is not None
        served[sequence.tenant.number] += cost(sequence)
        left[sequence.tenant.number] -= 1
        waiting = [served[tenant] for tenant, requests in left.items() if requests]
        if waiting:
            assert max(waiting) - min(waiting) <= largest * (1 + 1e-12)


def test_a_tenant_is_not_paid_for_its_absence() -> None:
    queue, (one, two) = FairQueue(), tenants(1, 1)
    for number in range(10):
        queue.push(call(number, one, 10, 10))
    for _ in range(5):
        queue.pop_head()
    for number in range(10, 20):
        queue.push(call(number, two, 10, 10))
    order = [queue.pop_head().tenant.number for _ in range(10)]  # type: ignore[union-attr]
    assert order.count(0) == order.count(1) == 5


def test_a_preempted_request_is_charged_once() -> None:
    queue, (one, two) = FairQueue(), tenants(1, 1)
    first, second = call(0, one, 10, 10), call(1, two, 10, 10)
    queue.push(first)
    queue.push(second)
    assert queue.pop_head() is first
    queue.push_back(first)
    assert queue.pop_head() is second  # tenant 0 has been charged for what it takes up again
    assert queue.pop_head() is first
    assert len(queue) == 0


def test_a_flood_does_not_drown_the_others() -> None:
    """Four times what the replica serves, nearly all of it of one tenant."""
    classes = {"flood": {"weight": 19}, "quiet": {"weight": 1}}
    fair = simulate(scenario(classes), check=True)
    first = simulate(scenario(classes, order="fcfs"), check=True)
    by_class = {
        name: summarize_kinds(result.requests, SloSpec())["quiet"]["ttft_ms.mean"]
        for name, result in (("fair", fair), ("fcfs", first))
    }
    # requests take 10 ms, and it is served every other time: a queue of its own with load 0.4
    assert by_class["fair"] < 40
    assert by_class["fcfs"] > 300
    assert facts(fair) == facts(simulate(scenario(classes)))


def test_shares_divide_the_service() -> None:
    classes = {"gold": {"share": 3}, "iron": {"share": 1}}
    requests = simulate(scenario(classes, rate=1e6)).requests  # all come at once
    early = requests.scheduled.argsort()[:200]
    gold = int((requests.kind[early] == 0).sum())
    assert gold == pytest.approx(150, abs=2)


def test_priorities_and_deadlines_are_those_of_the_class() -> None:
    classes = {
        "batch": {"priority": 5, "slo": {"ttft_ms": 60_000}},
        "chat": {"priority": 1, "slo": {"ttft_ms": 200}},
    }
    for order in ("priority", "edf"):
        result = simulate(scenario(classes, rate=120, order=order))
        found = summarize_kinds(result.requests, SloSpec())
        assert found["chat"]["ttft_ms.p90"] < found["batch"]["ttft_ms.p50"]  # type: ignore[operator]
        good = sum(found[name]["slo_attainment"] * found[name]["requests"] for name in found)  # type: ignore[operator,misc]
        assert result.summary["slo_attainment"] == pytest.approx(good / 400)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=60),
    st.integers(1, 20),
    st.integers(1, 5),
)
def test_a_bucket_lets_in_what_its_tokens_allow(gaps: list[int], interval: int, burst: int) -> None:
    """Against a bucket that is filled tick by tick."""
    kind = RequestClass(0, "a", 1.0, None, SloSpec(), interval, burst)
    limits = RateLimits(RequestClasses((kind,), np.zeros(len(gaps), np.int64)))
    now, level = 0, burst * interval  # a token is `interval` parts
    for request, gap in enumerate(gaps):
        now, level = now + gap, min(burst * interval, level + gap)
        allowed = level >= interval
        level -= interval * allowed
        assert limits.lets_in(request, now) == allowed


def test_what_is_beyond_the_rate_is_rejected() -> None:
    classes = {"bounded": {"max_rate_per_s": 10, "max_burst": 3}, "free": {}}
    result = simulate(scenario(classes))  # 400 requests in a second, half of them bounded
    found = summarize_kinds(result.requests, SloSpec())
    assert found["free"]["rejected"] == 0
    seconds = (result.requests.arrival[-1] - result.requests.arrival[0]) / 1e12
    assert found["bounded"]["completed"] == pytest.approx(3 + 10 * seconds, abs=1.5)
    assert set(result.requests.reason) == {"", "rate_limited"}


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ({"a": {"weight": 0}, "b": {"weight": 0}}, ["classes", "weight"]),
        ({"a": {"tenant": 1}, "b": {}}, ["classes", "tenant"]),
        ({"a": {"tenant": 1}, "b": {"tenant": 1}}, ["classes", "tenant"]),
        ({"a": {"share": 0}}, ["classes.a.share"]),
        ({"a": {"wieght": 1}}, ["classes.a.wieght", "weight"]),
        ({"a": {"tenant": 1}}, ["classes", "attribute.tenant"]),
        ({"a": {"max_burst": 3}}, ["classes.a.max_burst", "max_rate_per_s"]),
    ],
)
def test_classes_that_cannot_be_are_refused(classes: object, words: list[str]) -> None:
    with pytest.raises(InputError) as error:
        simulate(scenario(classes))
    for word in words:
        assert word in str(error.value)
