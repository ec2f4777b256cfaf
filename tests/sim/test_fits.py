"""What only shows when deployment and workload meet is told by a check as by a simulation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hermes.errors import InputError
from hermes.scenario import build_scenario
from hermes.scenario.scenario import Scenario
from hermes.sim import simulate
from hermes.sim.explain import explain

HEADER = "arrival_s,prompt_tokens,output_tokens"
TRACES = {
    "plain": f"{HEADER}\n0,100,5\n1,90,5\n",
    "tenants": f"{HEADER},attribute.tenant\n0,100,5,1\n1,90,5,7\n",
    "blocks": f"{HEADER},block_ids,block_tokens\n0,100,5,1 2,48\n1,90,5,1 3,48\n",
}
TIERS = {"tiers": {"pool": {"shared_by": "all", "bandwidth_gb_per_s": 10}}}


def scenario(folder: Path, trace: str, **changes: Any) -> Scenario:
    path = folder / "trace.csv"
    path.write_text(TRACES[trace])
    client = {"model": "llama-3.1-8b", "device": "h100-sxm", **changes.pop("client", {})}
    return build_scenario(
        {
            "workload": {"requests": {"trace": "hermes", "path": str(path)}},
            "clients": {"chat": client},
            **changes,
        }
    )


CASES: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "a loop by a column that is not there": (
        "plain",
        {
            "pipelines": {
                "p": [{"loop": {"times": {"column": "turns"}, "stages": [{"generate": {}}]}}]
            }
        },
        "pipelines.p",
        "no column 'attribute.turns'",
    ),
    "a choice by a column that is not there": (
        "tenants",
        {
            "pipelines": {
                "p": [
                    {
                        "choice": {
                            "branches": {
                                "some": {
                                    "when": {"attribute": {"tier": [1, 2]}},
                                    "stages": [{"generate": {}}],
                                },
                                "rest": {"stages": [{"generate": {"name": "rest"}}]},
                            }
                        }
                    }
                ]
            }
        },
        "pipelines.p",
        r"no column 'attribute.tier' \(columns: tenant\)",
    ),
    "stated hits beside prompts that decide them": (
        "blocks",
        {
            "pipelines": {"p": [{"generate": {"recall": {"tokens": 500}}}]},
            "topology": TIERS,
            "client": {"kv_tiers": ["pool"]},
        },
        "pipelines.p.0.generate.recall",
        "hits come of that",
    ),
    "blocks of which neither holds the other": (
        "blocks",
        {"client": {"block_size": 32}},
        "clients.chat.block_size",
        "one must divide the other",
    ),
    "a tenant of no class": (
        "tenants",
        {"classes": {"gold": {"tenant": 1}, "iron": {"tenant": 2}}},
        "classes",
        "tenant 7",
    ),
}


@pytest.mark.parametrize("judge", [simulate, explain])
@pytest.mark.parametrize("case", CASES)
def test_what_does_not_go_together_is_refused(
    case: str, judge: Callable[[Scenario], object], tmp_path: Path
) -> None:
    trace, changes, field, message = CASES[case]
    with pytest.raises(InputError, match=message) as refused:
        judge(scenario(tmp_path, trace, **changes))
    assert refused.value.field == field


@pytest.mark.parametrize("judge", [simulate, explain])
@pytest.mark.parametrize("block_size", [16, 48, 96])
def test_blocks_of_which_one_holds_the_other_go_together(
    block_size: int, judge: Callable[[Scenario], object], tmp_path: Path
) -> None:
    assert judge(scenario(tmp_path, "blocks", client={"block_size": block_size}))
