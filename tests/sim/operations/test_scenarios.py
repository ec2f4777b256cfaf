"""Operations as a user writes them: scenarios that run, and scenarios that are refused."""

from __future__ import annotations

import pytest

from hermes.errors import InputError
from hermes.scenario import build_scenario
from hermes.sim import simulate
from hermes.sim.deployment import resolve
from hermes.workload import build_workload
from tests.sim.operations.cases import assert_steps_do_not_matter, facts, require_laws

LINEAR = {"linear": {"step_us": 1000, "token_us": 5, "context_token_ns": 0}}


def scenario(rate: float = 20, requests: int = 150, pipeline: object = None, **client: object):
    given = {
        "seed": 3,
        "workload": {
            "requests": {
                "lengths": {
                    "prompt": {"uniform": {"low": 10, "high": 400}},
                    "output": {"uniform": {"low": 1, "high": 80}},
                }
            },
            "arrivals": {"process": "poisson", "rate_per_s": rate},
            "limit": {"requests": requests},
        },
        "clients": {
            "chat": {"model": "llama-3.1-8b", "device": "h100-sxm", "costs": LINEAR, **client},
            "tools": {"serves": ["tool"], "max_concurrency": 4},
        },
        "pipelines": {"default": pipeline or [{"generate": {}}]},
    }
    if pipeline is None:
        del given["clients"]["tools"]  # type: ignore[attr-defined]
    return build_scenario(given)


FAILING = {"mtbf_s": 0.5, "mttr_s": 0.2}

PIPELINES = {
    "chain": [{"generate": {}}, {"tool": {"latency_ms": 3}}, {"generate": {"output_tokens": 9}}],
    "branches": [
        {"parallel": {"branches": 3, "wait_for": 2, "stages": [{"generate": {}}]}},
        {"tool": {"latency_ms": 3}},
    ],
    "loop": [{"loop": {"times": 3, "stages": [{"generate": {}}, {"tool": {"latency_ms": 1}}]}}],
}


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize("resume", [False, True])
def test_requests_of_several_stages_survive(name: str, resume: bool) -> None:
    plan = scenario(
        pipeline=PIPELINES[name],
        replicas=3,
        failures=FAILING,
        retry={"max": 5, "resume": resume},
        max_queue=30,
        queue_timeout_ms=2000,
    )
    result = simulate(plan, check=True)
    require_laws(result)
    assert result.summary["retries"] > 0
    assert result.summary["completed"] > 100
    assert facts(result) == facts(simulate(plan))


def test_replicas_load_their_weights() -> None:
    """8 billion parameters in 16 bits over one slot of the host, 16 GB/s at 64 GB/s."""
    slow = scenario(
        rate=50,
        autoscale={"min": 1, "max": 3, "target": 2, "interval_s": 0.1, "cooldown_s": 1},
        start_up={"startup_s": 0.05, "weights": "store", "store_gb_per_s": 16.06},
    )
    fast = scenario(
        rate=50, autoscale={"min": 1, "max": 3, "target": 2, "interval_s": 0.1, "cooldown_s": 1}
    )
    late, early = simulate(slow, check=True), simulate(fast, check=True)
    assert late.summary["e2el_ms.mean"] > early.summary["e2el_ms.mean"]
    first = [
        min(result.requests.scheduled[result.requests.replica == 1], default=10**15)
        for result in (late, early)
    ]
    assert first[0] - first[1] > 0.9e12  # a second for 16 GB


def test_nothing_said_is_nothing_changed() -> None:
    """A deployment that says nothing, and one whose bounds are never met, do the same."""
    plain = simulate(scenario(replicas=2))
    bounded = simulate(scenario(replicas=2, max_queue=10_000, queue_timeout_ms=1e7))
    assert facts(plain) == facts(bounded)
    assert plain.summary == bounded.summary


@pytest.mark.parametrize(
    ("client", "words"),
    [
        ({"failures": {}}, ["clients.chat.failures", "mtbf_s", "schedule", "upgrade"]),
        ({"failures": {"mtbf_s": 5}}, ["clients.chat.failures", "mttr_s"]),
        ({"failures": {"mtbf_s": 0, "mttr_s": 1}}, ["clients.chat.failures.mtbf_s"]),
        (
            {"failures": {"schedule": [{"replica": 2, "at_s": 1, "down_s": 1}]}, "replicas": 2},
            ["clients.chat.failures.schedule.0.replica", "replica 2", "0 to 1"],
        ),
        (
            {"failures": {"schedule": [{"replica": 0, "at_s": 1}]}},
            ["clients.chat.failures.schedule.0.down_s"],
        ),
        ({"failures": {"mtbf": 5, "mttr_s": 1}}, ["clients.chat.failures.mtbf", "mtbf_s"]),
        ({"retry": {"max": 2}}, ["clients.chat.retry", "no failures"]),
        ({"start_up": {"startup_s": 2}}, ["clients.chat.start_up"]),
        (
            {"autoscale": {"min": 2, "max": 4, "target": 2}, "replicas": 1},
            ["clients.chat.replicas", "2 to 4"],
        ),
        ({"autoscale": {"min": 5, "max": 4, "target": 2}}, ["clients.chat.autoscale", "5", "4"]),
        ({"autoscale": {"max": 4, "target": 2, "signal": "kv"}}, ["clients.chat.autoscale", "kv"]),
        ({"autoscale": {"max": 4, "target": 0}}, ["clients.chat.autoscale.target"]),
        ({"max_queue": -1}, ["clients.chat.max_queue"]),
        ({"queue_timeout_ms": 0}, ["clients.chat.queue_timeout_ms"]),
        (
            {
                "failures": FAILING,
                "start_up": {"weights": "host", "store_gb_per_s": 4},
            },
            ["clients.chat.start_up", "store"],
        ),
    ],
)
def test_what_cannot_be_is_refused(client: dict[str, object], words: list[str]) -> None:
    with pytest.raises(InputError) as error:
        resolve(scenario(**client))
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("mode", ["expected", "sampled"])
@pytest.mark.parametrize("num_gpu_blocks_override", [60, 1000])
def test_drafts_are_lost_with_their_replica(mode: str, num_gpu_blocks_override: int) -> None:
    plan = scenario(
        replicas=2,
        max_num_seqs=8,
        num_gpu_blocks_override=num_gpu_blocks_override,
        failures=FAILING,
        retry={"max": 3, "resume": True},
        speculative_config={
            "num_speculative_tokens": 3,
            "acceptance_rate": 0.7,
            "mode": mode,
        },
    )
    requests = build_workload(plan.workload, tuple(plan.pipelines), plan.seed)
    assert_steps_do_not_matter(resolve(plan), requests)
