"""Laws of every pipeline on every deployment: nothing is lost, nothing depends on chance."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hermes.metrics import RequestColumns, TokenGaps
from hermes.metrics.stages import PARTS
from hermes.sim.simulation import SimulationResult
from tests.sim.pipelines.build import built, run
from tests.sim.pipelines.trees import clients, pipelines, requests

EVERYTHING = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def all_stages(tree, pool):
    """Return the tree after a little of everything, so that every client is reached."""
    touch = [
        {"retrieve": {"top_k": 1, "tokens_per_document": 4}},
        {"rerank": {"model": "bge-reranker-base"}},
        {"process": {"service_ms": 0.1}},
        {"tool": {"client": "web", "latency_ms": 1}},
        {"generate": {"client": "small", "output_tokens": 2}},
        {"generate": {"client": "large", "output_tokens": 1}},
    ]
    return built([*tree, *touch], pool, workload={"difficulty": {"easy": 1, "hard": 1}})


def simulated(tree, pool, asked, seed=0, fast_forward=True) -> SimulationResult:
    scenario = all_stages(tree, pool).model_copy(update={"seed": seed})
    rounds = {"rounds": [i % 3 for i in range(len(asked))]}
    return run(scenario, asked, rounds, fast_forward)


def columns(found: RequestColumns) -> dict[str, object]:
    """Return all that is known of requests and their stages, to compare."""
    every = {name: getattr(found, name) for name in found.__slots__ if name != "stages"}
    stages = {f"stages.{name}": getattr(found.stages, name) for name in found.stages.__slots__}
    return {
        name: column.tolist() if isinstance(column, np.ndarray) else column
        for name, column in (every | stages).items()
    }


@EVERYTHING
@given(pipelines(), clients(), requests)
def test_nothing_is_lost(tree, pool, asked):
    result = simulated(tree, pool, asked)
    found, stages = result.requests, result.requests.stages
    for part in PARTS:
        assert (stages.part(part) >= 0).all(), part
    for number in range(len(asked)):
        here = (stages.request == number) & stages.critical
        assert bool(found.completed[number]) != bool(found.reason[number])
        if not found.completed[number]:
            assert not here.any()
            continue
        begins, ends = stages.begin[here].tolist(), stages.end[here].tolist()
        assert begins[0] == found.arrival[number]
        assert begins[1:] == ends[:-1]
        assert ends[-1] == found.finished[number]
        total = sum(int(stages.of_requests(part, len(asked))[number]) for part in PARTS)
        assert total == found.finished[number] - found.arrival[number]


@EVERYTHING
@given(pipelines(), clients(), requests)
def test_every_token_sampled_belongs_to_a_request(tree, pool, asked):
    result = simulated(tree, pool, asked)
    found, stages = result.requests, result.requests.stages
    after_first = int(TokenGaps.gathered(result.gaps)[1].sum())
    names = np.array([name.partition("/")[2] for name in stages.stage_names])
    calls = np.char.startswith(names, "generate") | np.char.endswith(names, "-router")
    assert int(found.generated_tokens.sum()) == after_first + int(calls[stages.stage].sum())


@EVERYTHING
@given(pipelines(), clients(), requests, st.integers(0, 3))
def test_the_same_again_and_without_fast_forward(tree, pool, asked, seed):
    first = simulated(tree, pool, asked, seed)
    again = simulated(tree, pool, asked, seed)
    assert columns(first.requests) == columns(again.requests)
    assert first.summary == again.summary
    stepwise = simulated(tree, pool, asked, seed, fast_forward=False)
    assert columns(first.requests) == columns(stepwise.requests)


def done_to(result: SimulationResult) -> list[Counter[str]]:
    """Return how often each request passed each stage."""
    stages = result.requests.stages
    counts: list[Counter[str]] = [Counter() for _ in result.requests.reason]
    for request, stage in zip(stages.request.tolist(), stages.stage.tolist(), strict=True):
        counts[request][stages.stage_names[stage]] += 1
    return counts


@EVERYTHING
@given(pipelines(by_time=False), clients(), requests, st.sampled_from([0.2, 5]))
def test_a_faster_client_changes_no_draw(tree, pool, asked, factor):
    """The same requests pass the same stages and sample the same tokens, only at other times."""
    roomy = {**pool, "small": {**pool["small"], "num_gpu_blocks_override": 20_001}}
    costs = {"step_us": 1000 * factor, "token_us": 10, "context_token_ns": 3}
    other = {**roomy, "small": {**roomy["small"], "costs": {"linear": costs}}}
    other["web"] = {**other["web"], "max_concurrency": 64}
    one, two = simulated(tree, roomy, asked), simulated(tree, other, asked)
    assert done_to(one) == done_to(two)
    assert one.requests.generated_tokens.tolist() == two.requests.generated_tokens.tolist()
    assert one.requests.right.tolist() == two.requests.right.tolist()


@EVERYTHING
@given(pipelines(), requests)
def test_one_after_the_other_nothing_queues(tree, asked):
    """Far apart, on clients with room, a request without a fork waits for nothing."""
    apart = [(10_000.0 * i, prompt, output) for i, (_, prompt, output) in enumerate(asked)]
    pool = {
        "small": {**_SMALL, "quality": 0.5},
        "large": {**_SMALL, "quality": 0.5},
        "enc": {
            "serves": ["embed", "rerank", "encode"],
            "device": "l40s",
            "models": ["multilingual-e5-base", "bge-reranker-base"],
        },
        "vectors": {"serves": ["retrieve"], "device": "grace", "index": "ivfpq-1b"},
        "cpu": {"serves": ["process"], "device": "grace"},
        "web": {"serves": ["tool"]},
    }
    if "parallel" in str(tree):
        return
    stages = simulated(tree, pool, apart).requests.stages
    assert not stages.queue.any()
    assert not stages.preemption.any()


_SMALL = {
    "model": "llama-3.1-8b",
    "device": "h100-sxm",
    "costs": {"linear": {"step_us": 100, "token_us": 1, "context_token_ns": 1}},
}

_PROGRAM = """
from tests.sim.pipelines.test_laws import digest_of_everything
print(digest_of_everything())
"""


def digest_of_everything() -> str:
    """Return a digest of all columns of a run with every kind of stage."""
    loop = {
        "loop": {
            "times": {"geometric": {"mean": 2}},
            "stages": [{"generate": {"client": "small"}}],
        }
    }
    fork = {"parallel": {"branches": 3, "stages": [loop], "wait_for": 2}}
    router = {"client": "small", "confusion": {"easy": {"easy": 2, "hard": 1}}}
    branches = {"a": {"when": {"difficulty": "hard"}, "stages": [fork]}, "b": {"stages": [loop]}}
    pool = {
        "small": {**_SMALL, "replicas": 3, "quality": 0.5},
        "large": {**_SMALL, "quality": {"easy": 0.5, "hard": 0.3}},
        "enc": {"serves": ["rerank"], "device": "l40s", "models": ["bge-reranker-base"]},
        "vectors": {"serves": ["retrieve"], "device": "grace", "index": "ivfpq-1b"},
        "cpu": {"serves": ["process"], "device": "grace", "on": "vectors"},
        "web": {"serves": ["tool"], "max_concurrency": 2},
    }
    tree = [{"choice": {"router": router, "branches": branches}}, fork]
    asked = [(3 * i, 20 + i, 1 + i % 40) for i in range(80)]
    result = simulated(tree, pool, asked)
    return hashlib.sha256(repr((columns(result.requests), result.summary)).encode()).hexdigest()


@pytest.mark.parametrize("hash_seed", ["0", "1", "4711"])
def test_nothing_depends_on_the_hash_seed(hash_seed):
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    asked = [sys.executable, "-c", _PROGRAM]
    said = subprocess.run(asked, env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == digest_of_everything()
