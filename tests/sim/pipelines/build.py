"""Builders of pipelines for tests: clients whose times can be reckoned in the head.

The language model takes 1 ms for a step and 10 us for each of its tokens, whatever the context:
alone, a call of `prompt` and `output` tokens takes `call_ms(prompt, output)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from hermes.scenario.loading import build_scenario
from hermes.scenario.scenario import Scenario
from hermes.sim.deployment import resolve
from hermes.sim.simulation import SimulationResult, simulate_deployment
from hermes.workload import Workload

MS = 10**9  # ticks

LLM: dict[str, Any] = {
    "model": "llama-3.1-8b",
    "device": "h100-sxm",
    "costs": {"linear": {"step_us": 1000, "token_us": 10, "context_token_ns": 0}},
    "num_gpu_blocks_override": 20_001,
}
CPU: dict[str, Any] = {"serves": ["process"], "device": "grace", "workers": 1}


def hop_ms(tokens: int) -> float:
    """Return what a context takes from node to node: two ports of 10 us, 50 GB/s, 4 bytes each."""
    return 0.02 + 4 * tokens / 50e6


def call_ms(prompt: int, output: int) -> float:
    """Return what a call takes whose prompt fits one step, alone on a replica."""
    return 1 + 0.01 * prompt + (output - 1) * 1.01


def work(ms: float, **fields: Any) -> dict[str, Any]:
    """Return a stage of CPU work."""
    return {"process": {"service_ms": ms, **fields}}


def call(**fields: Any) -> dict[str, Any]:
    """Return a model call."""
    return {"generate": fields}


def built(
    pipeline: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Mapping[str, Any]]],
    clients: Mapping[str, Mapping[str, Any]] | None = None,
    **fields: Any,
) -> Scenario:
    """Return a scenario with pipelines, or the one that is called `p`."""
    pipelines = pipeline if isinstance(pipeline, Mapping) else {"p": pipeline}
    workload = {
        "requests": {"lengths": {"prompt": 100, "output": 10}},
        "arrivals": {"process": "poisson", "rate_per_s": 1},
        "mix": dict.fromkeys(pipelines, 1),
    }
    return build_scenario(
        {
            "workload": {**workload, **fields.pop("workload", {})},
            "pipelines": pipelines,
            "clients": clients or {"llm": LLM},
            **fields,
        }
    )


def requests_of(
    scenario: Scenario,
    requests: Sequence[tuple[float, int, int]],
    attributes: Mapping[str, Sequence[int]] | None = None,
    pipeline: Sequence[int] | None = None,
) -> Workload:
    """Return a workload from (arrival in ms, prompt tokens, output tokens)."""
    arrival, prompt, output = zip(*requests, strict=True)
    return Workload(
        np.array([round(ms * MS) for ms in arrival], np.int64),
        np.array(prompt, np.int64),
        np.array(output, np.int64),
        np.array(pipeline or [0] * len(requests), np.int64),
        tuple(scenario.pipelines),
        "test",
        attributes={k: np.array(v, np.int64) for k, v in (attributes or {}).items()},
    )


def run(
    scenario: Scenario,
    requests: Sequence[tuple[float, int, int]] | Workload = ((0, 100, 10),),
    attributes: Mapping[str, Sequence[int]] | None = None,
    fast_forward: bool = True,
) -> SimulationResult:
    """Simulate, with all laws checked."""
    if not isinstance(requests, Workload):
        requests = requests_of(scenario, requests, attributes)
    return simulate_deployment(
        scenario, resolve(scenario), requests, fast_forward=fast_forward, check=True
    )


class Seen(NamedTuple):
    """A visit of a request to a stage, in milliseconds."""

    stage: str
    begin: float
    time: float
    critical: bool


def visits(result: SimulationResult, request: int = 0) -> list[Seen]:
    """Return the visits of a request, in order of time."""
    stages = result.requests.stages
    return [
        Seen(
            stages.stage_names[stages.stage[i]].partition("/")[2],
            float(stages.begin[i]) / MS,
            float(stages.end[i] - stages.begin[i]) / MS,
            bool(stages.critical[i]),
        )
        for i in np.flatnonzero(stages.request == request)
    ]


def e2e_ms(result: SimulationResult, request: int = 0) -> float:
    """Return a request's end-to-end latency."""
    requests = result.requests
    assert requests.completed[request], requests.reason[request]
    return float(requests.finished[request] - requests.arrival[request]) / MS
