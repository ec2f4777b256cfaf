"""A deployment that is simulated in milliseconds, and its parts as tests need them."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

from hermes.evaluation import EvaluationSpec, Runner, evaluate
from hermes.scenario.loading import build_scenario
from hermes.sim.deployment import resolve
from hermes.workload import build_workload

SCENARIO: dict[str, Any] = {
    "workload": {
        "requests": {"lengths": {"prompt": 64, "output": {"uniform": {"low": 1, "high": 32}}}},
        "arrivals": {"process": "poisson", "rate_per_s": 20},
        "limit": {"requests": 300},
    },
    "clients": {
        "chat": {
            "model": "llama-3.1-8b",
            "device": "h100-sxm",
            "max_num_seqs": 4,
            "costs": {"linear": {"step_us": 4000, "token_us": 20}},
        }
    },
    "slo": {"ttft_ms": 200, "attainment": 0.9},
}


def runner(**blocks: Any) -> Runner:
    """Return the candidate with blocks of its scenario replaced or, for mappings, updated."""
    content = copy.deepcopy(SCENARIO)
    for name, block in blocks.items():
        same = isinstance(block, dict) and name in content
        content[name] = content[name] | block if same else block
    scenario = build_scenario(content)

    def build(spec, seed):
        return build_workload(spec, tuple(scenario.pipelines), seed, None)

    return Runner(scenario, resolve(scenario, None), build)


def columns(spec: dict[str, Any], watched: tuple[str, ...] = (), **blocks: Any) -> dict[str, Any]:
    """Judge the candidate."""
    return evaluate(EvaluationSpec.model_validate(spec), runner(**blocks), watched)


capacity_columns = partial(columns, {"capacity": {}})
