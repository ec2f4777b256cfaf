"""Walks beside plain requests: they are served alike, wherever calls go and whatever happens."""

from __future__ import annotations

import numpy as np
import pytest

from hermes.errors import SimulationError
from hermes.metrics.stages import PARTS
from hermes.sim.coordinator import Coordinator
from hermes.sim.simulation import SimulationResult
from hermes.sim.stations.station import Station
from tests.sim.pipelines.build import CPU, LLM, built, call, call_ms, run, visits, work
from tests.sim.pipelines.test_laws import columns

BUSY = [(3 * i, 40 + 13 * i % 200, 1 + 7 * i % 60) for i in range(120)]
APART = {
    "prefill": {**LLM, "serves": ["prefill"]},
    "decode": {**LLM, "serves": ["decode"]},
}


def adds_up(result: SimulationResult) -> bool:
    """Whether the parts of all stages are the latency of every request, and none is negative."""
    found = result.requests
    assert found.completed.all()
    total = sum(found.stages.of_requests(part, len(found.arrival)) for part in PARTS)
    assert all((found.stages.part(part) >= 0).all() for part in PARTS)
    return bool((total == found.finished - found.arrival).all())


@pytest.mark.parametrize(
    "clients",
    [
        {"llm": {**LLM, "replicas": 2}},
        {"llm": {**LLM, "num_gpu_blocks_override": 60}},
        {"llm": {**LLM, "batching": "continuous"}},
        {"llm": {**LLM, "batching": "static"}},
        {"llm": {**LLM, "pipeline_parallel_size": 2}},
        {"llm": {**LLM, "num_gpu_blocks_override": 60, "swap_space_gb": 4.0}},
        {"llm": {**LLM, "costs": "roofline"}},
        APART,
        {**APART, "prefill": {**APART["prefill"], "kv_transfer": "layerwise", "replicas": 2}},
        {"prefill": {**APART["prefill"], "overflow_tokens": 100}, "decode": APART["decode"]},
        {"prefill": APART["prefill"], "decode": {**APART["decode"], "overflow_tokens": 500}},
    ],
)
def test_a_walk_of_one_call_is_a_plain_request(clients):
    """A stated quality makes a request walk; nothing else changes, to the tick."""
    plain = run(built([call()], clients), BUSY)
    rated = {name: {**client, "quality": 0.5} for name, client in clients.items()}
    walked = run(built([call()], rated), BUSY)
    assert adds_up(plain)
    one, other = columns(plain.requests), columns(walked.requests)
    assert (np.array(other.pop("right")) >= 0).all()
    one.pop("right")
    # A plain request is told by the replica that took it, an answer by the one that gave it.
    if "decode" in clients:
        for name in ("replica", "stages.server"):
            one.pop(name)
            other.pop(name)
    assert one == other


@pytest.mark.parametrize("transfer", ["whole", "layerwise"])
def test_calls_that_are_handed_over_add_up_too(transfer):
    clients = {**APART, "cpu": CPU}
    clients["prefill"] = {**APART["prefill"], "kv_transfer": transfer}
    tool = {"tool": {"latency_ms": 3, "result_tokens": 50}}
    stages = [work(0.2), {"loop": {"times": 2, "stages": [call(), tool]}}, call(output_tokens=1)]
    several = [(ms, prompt, output + 1) for ms, prompt, output in BUSY]  # one alone stays there
    result = run(built(stages, clients), several)
    assert adds_up(result)
    log = result.requests.stages
    calls = np.char.startswith([n.partition("/")[2] for n in log.stage_names], "generate")
    handed = calls[log.stage] & (log.stage == 1)
    assert (log.transfer[handed] > 0).all()
    assert result.requests.reused_tokens.sum() > 0  # prompts of later turns, where they prefill


@pytest.mark.parametrize("rated", ["prefill", "decode"])
def test_pools_that_share_calls_share_the_quality_of_their_model(rated):
    clients = {
        "prefill": {**APART["prefill"], "overflow_tokens": 50},
        "decode": APART["decode"],
    }
    clients[rated] = {**clients[rated], "quality": 1.0}
    result = run(built([call()], clients), [(0, 100, 10)] * 6)
    assert (result.requests.stages.transfer == 0).any()  # at least one was served whole
    assert result.requests.right.tolist() == [1] * 6
    assert result.summary["answer_quality"] == 1


def test_stages_before_a_call_count_for_its_time_to_first_token():
    clients = {"llm": LLM, "cpu": CPU}
    result = run(built([work(7), call()], clients), [(0, 100, 10)])
    moved = visits(result)[1].time - call_ms(100, 10)
    assert result.summary["ttft_ms.mean"] == pytest.approx(7 + moved + call_ms(100, 1))


def test_a_job_that_nobody_takes_up_is_an_error(monkeypatch):
    """As a deadlock in a station would be."""
    monkeypatch.setattr("hermes.sim.stations.executor.Executor.wake", lambda self: None)
    with pytest.raises(SimulationError, match="1 jobs of station 0 not done, 1 of them queued"):
        run(built([work(1)], {"cpu": CPU}))


def test_a_walk_that_never_ends_is_an_error(monkeypatch):
    monkeypatch.setattr(Station, "check_drained", lambda self: None)
    monkeypatch.setattr("hermes.sim.stations.executor.Executor.wake", lambda self: None)
    with pytest.raises(SimulationError, match="1 walks under way"):
        run(built([work(1)], {"cpu": CPU}))


def test_nothing_is_under_way_when_all_is_done(monkeypatch):
    seen = []
    check = Coordinator.check_drained
    monkeypatch.setattr(
        Coordinator, "check_drained", lambda self: (seen.append(self.under_way), check(self))[1]
    )
    fork = {"parallel": {"branches": 3, "stages": [call(), work(1)], "wait_for": 1}}
    run(built([fork], {"llm": LLM, "cpu": CPU}), BUSY)
    assert seen == [0]
