"""Adapters beside what else a scenario has: pipelines, warm caches, failures, sessions, routers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hermes.errors import InputError
from hermes.scenario import build_scenario
from hermes.sim import simulate
from hermes.sim.deployment import resolve
from hermes.sim.explain import explain
from tests.sim.lora.cases import run, scenario, write_trace

LINEAR = {"linear": {"step_us": 10_000, "token_us": 0, "context_token_ns": 0}}


def client(**fields: Any) -> dict[str, Any]:
    return {"model": "llama-3.1-8b", "device": "h100-sxm", "costs": LINEAR, **fields}


def two_clients(stages: list[Any], **clients: Any) -> Any:
    return build_scenario(
        {
            "workload": {
                "requests": {"lengths": {"prompt": 100, "output": 5}},
                "arrivals": {"process": "poisson", "rate_per_s": 5},
                "limit": {"requests": 60},
                "adapters": {"count": 3},
            },
            "pipelines": {"default": stages},
            "clients": clients,
        }
    )


def test_a_pipeline_uses_adapters_where_they_are_served_and_the_base_model_elsewhere() -> None:
    stages = [{"generate": {"client": "tuned"}}, {"generate": {"client": "plain"}}]
    given = two_clients(stages, tuned=client(enable_lora=True, max_loras=3), plain=client())
    result = simulate(given, check=True)
    assert result.summary["completed"] == 60
    assert result.summary["adapter_loads"] == 3


def test_a_stage_shared_by_clients_with_and_without_adapters_is_refused() -> None:
    stages = [{"generate": {}}]
    given = two_clients(stages, tuned=client(enable_lora=True), plain=client())
    with pytest.raises(InputError, match=r"pipelines\.default\.0.*plain serve no adapters"):
        resolve(given)


def test_a_warm_cache_holds_prompts_under_their_adapters(tmp_path: Path) -> None:
    """Two came before with adapters 0 and 1: of three like them, two find their blocks."""
    lines = ["arrival_s,prompt_tokens,output_tokens,attribute.adapter,block_ids,block_tokens"]
    lines += [f"{i},65,1,{a},1 2 3 4,16" for i, a in enumerate([0, 1, 1, 0, 2])]
    (tmp_path / "trace.csv").write_text("\n".join(lines))
    work = {"requests": {"trace": "hermes", "path": "trace.csv"}, "warm_cache": 2}
    result = run(scenario(work, max_loras=3), tmp_path)
    assert result.requests.reused_tokens.tolist() == [64, 64, 0]


def test_a_replica_that_fails_loses_its_adapters(tmp_path: Path) -> None:
    write_trace(tmp_path, [(0, 10, 1, 0), (1, 10, 1, 0), (9, 10, 1, 0)])
    outage = {"schedule": [{"replica": 0, "at_s": 4, "down_s": 2}]}
    lost = run(scenario(failures=outage), tmp_path).summary
    kept = run(scenario(), tmp_path).summary
    assert (kept["adapter_loads"], lost["adapter_loads"]) == (1, 2)
    assert lost["completed"] == 3


def test_a_request_that_begins_again_keeps_its_adapter(tmp_path: Path) -> None:
    """It decodes when its replica fails, and begins again on the other: each loads its adapter."""
    write_trace(tmp_path, [(0, 10, 200, 0)])
    outage = {"schedule": [{"replica": 0, "at_s": 1, "down_s": 60}]}
    summary = run(scenario(failures=outage, replicas=2), tmp_path).summary
    assert (summary["retries"], summary["adapter_loads"]) == (1, 2)


def drawn(**changes: Any) -> Any:
    work = {
        "requests": {"lengths": {"prompt": 100, "output": {"lognormal": {"mean": 40, "cv": 1}}}},
        "arrivals": {"process": "poisson", "rate_per_s": 60},
        "limit": {"requests": 300},
        "adapters": {"count": 12, "popularity": {"zipf": {"exponent": 1.0}}, "share": 0.8},
    }
    return scenario(work, replicas=3, max_loras=3, max_cpu_loras=5, **changes)


@pytest.mark.parametrize("interval", [None, 50])
def test_routers_see_the_same_however_steps_are_grouped(interval: float | None) -> None:
    routing: dict[str, Any] = {"adapter_affinity": {"balance_abs_threshold": 5}}
    if interval is not None:
        routing["signal_interval_ms"] = interval
    given = drawn(routing=routing, device="h100-sxm", costs="roofline")
    one, other = run(given), run(given, fast_forward=False)
    assert one.summary == other.summary
    assert one.requests.finished.tolist() == other.requests.finished.tolist()
    assert one.requests.replica.tolist() == other.requests.replica.tolist()


def test_the_same_seed_gives_the_same_rows() -> None:
    assert run(drawn()).summary == run(drawn()).summary


def test_others_know_nothing_of_adapters() -> None:
    """Without `enable_lora` there are no loads to report, and none are explained."""
    work = {"requests": {"sample": "chat"}, "limit": {"requests": 20}}
    plain = simulate(scenario(work, enable_lora=False))
    assert plain.summary["adapter_loads"] is None
    facts = explain(scenario(work, max_loras=2))["clients"]["chat"]
    assert facts["LoRA adapters"].startswith("2 slots of 83.9 MB")
    assert simulate(scenario(work, max_loras=2)).summary["adapter_loads"] == 0


def test_windows_keep_whole_contexts_beside_adapters() -> None:
    """By default, as beside pools and tiers; who asks for windows is told."""
    google = {"model": "gemma-3-12b-it", "device": "h100-sxm"}
    work = {"requests": {"sample": "chat"}, "limit": {"requests": 5}}
    assert resolve(scenario(work, **google)).clients[0].limits.kv_groups is None
    with pytest.raises(InputError, match=r"enable_lora"):
        resolve(scenario(work, disable_hybrid_kv_cache_manager=False, **google))
