"""Answer quality is what probability theory says it must be."""

from __future__ import annotations

import math

import pytest

from tests.sim.pipelines.build import LLM, built, call, run

REQUESTS = [(i * 200, 20, 2) for i in range(1500)]


def quality(stages, clients, difficulty=None):
    workload = {"difficulty": difficulty} if difficulty else {}
    return run(built(stages, clients, workload=workload), REQUESTS)


def near(result, expected):
    sigma = math.sqrt(expected * (1 - expected) / len(REQUESTS))
    return abs(result.summary["answer_quality"] - expected) < 4 * sigma + 1e-12


@pytest.mark.parametrize("share", [0.0, 0.35, 1.0])
def test_one_model_answers_its_share_right(share):
    assert near(quality([call()], {"llm": {**LLM, "quality": share}}), share)


def test_it_is_unknown_where_no_client_states_it():
    assert run(built([call()])).summary["answer_quality"] is None


def test_shares_by_difficulty_are_weighed_by_it():
    clients = {"llm": {**LLM, "quality": {"easy": 0.9, "hard": 0.2}}}
    result = quality([call()], clients, {"easy": 3, "hard": 1})
    assert near(result, 0.75 * 0.9 + 0.25 * 0.2)


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        ("majority", 3 * 0.6**2 * 0.4 + 0.6**3),
        ("any", 1 - 0.4**3),
        ("last", 0.6),
    ],
)
def test_verdicts_of_three_independent_branches(verdict, expected):
    fork = {"parallel": {"branches": 3, "stages": [call()], "verdict": verdict}}
    assert near(quality([fork], {"llm": {**LLM, "quality": 0.6}}), expected)


def test_a_vote_of_an_even_number_needs_more_than_half():
    fork = {"parallel": {"branches": 2, "stages": [call()], "verdict": "majority"}}
    assert near(quality([fork], {"llm": {**LLM, "quality": 0.6}}), 0.36)


@pytest.mark.parametrize(("right", "wrong"), [(0.0, 1.0), (0.1, 0.7), (1.0, 1.0), (0.0, 0.0)])
def test_a_cascade_costs_and_answers_as_its_closed_form_says(right, wrong):
    """What the weak model knows the better one knows too, so escalation never unlearns."""
    weak, strong = 0.5, 0.8
    clients = {"weak": {**LLM, "quality": weak}, "strong": {**LLM, "quality": strong}}
    escalate = {"when": {"doubted": {"right": right, "wrong": wrong}}}
    branches = {
        "up": {**escalate, "stages": [call(client="strong", output_tokens=100)]},
        "done": {},
    }
    result = quality([call(client="weak"), {"choice": {"branches": branches}}], clients)
    assert near(result, weak + (strong - weak) * wrong)
    escalated = weak * right + (1 - weak) * wrong
    tokens = result.requests.generated_tokens
    share = (tokens == 102).mean()
    assert set(tokens.tolist()) <= {2, 102}
    sigma = math.sqrt(escalated * (1 - escalated) / len(REQUESTS))
    assert abs(share - escalated) < 4 * sigma + 1e-12


def test_a_router_that_errs_trades_quality_as_its_confusion_says():
    clients = {
        "weak": {**LLM, "quality": {"easy": 0.9, "hard": 0.1}},
        "strong": {**LLM, "quality": {"easy": 0.95, "hard": 0.8}},
    }
    router = {
        "client": "weak",
        "confusion": {"easy": {"easy": 0.8, "hard": 0.2}, "hard": {"easy": 0.3, "hard": 0.7}},
    }
    branches = {
        "up": {"when": {"difficulty": "hard"}, "stages": [call(client="strong")]},
        "down": {"stages": [call(client="weak")]},
    }
    result = quality(
        [{"choice": {"router": router, "branches": branches}}], clients, {"easy": 1, "hard": 1}
    )
    easy = 0.8 * 0.9 + 0.2 * 0.95
    hard = 0.3 * 0.1 + 0.7 * 0.8
    assert near(result, (easy + hard) / 2)


def test_the_same_requests_are_hard_whatever_the_deployment():
    """Common random numbers: a better model is right wherever a worse one is."""
    weak = quality([call()], {"llm": {**LLM, "quality": 0.5}}).requests.right
    strong = quality([call()], {"llm": {**LLM, "quality": 0.7, "replicas": 2}}).requests.right
    assert (strong >= weak).all()
    assert (strong > weak).any()
