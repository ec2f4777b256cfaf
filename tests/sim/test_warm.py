"""Caches that are warm at the start, against the same requests simulated from cold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hermes.errors import InputError
from hermes.scenario import build_scenario
from hermes.scenario.scenario import Scenario
from hermes.sim import simulate


def trace(tmp_path: Path, requests: int = 60) -> str:
    """Conversations of which each turn repeats the one before, far enough apart to be done."""
    rows = ["arrival_s,prompt_tokens,output_tokens,session,turn,shared_tokens"]
    for number in range(requests):
        turn = number // 6
        shared = 160 * turn
        rows.append(f"{10 * number},{160 * (turn + 1)},8,s{number % 6},{turn},{shared}")
    path = tmp_path / "turns.csv"
    path.write_text("\n".join(rows) + "\n")
    return str(path)


def scenario(path: str, warm: int | None, limit: int, **client: Any) -> Scenario:
    workload = {"requests": {"trace": "hermes", "path": path}, "limit": {"requests": limit}}
    if warm is not None:
        workload["warm_cache"] = warm
    chat = {"model": "llama-3.1-8b", "device": "h100-sxm", **client}
    tiers = {"pool": {"shared_by": "all", "bandwidth_gb_per_s": 100}}
    topology = {"tiers": tiers} if "kv_tiers" in client else None
    return build_scenario({"workload": workload, "clients": {"chat": chat}, "topology": topology})


@pytest.mark.parametrize("blocks", [100_000, 700, 400])
def test_requests_find_what_those_before_them_would_have_left(tmp_path: Path, blocks: int) -> None:
    path = trace(tmp_path)
    size = {"num_gpu_blocks_override": blocks}
    cold = simulate(scenario(path, None, 60, **size)).requests
    warm = simulate(scenario(path, 30, 30, **size)).requests
    assert cold.reused_tokens[30:].sum() > 0
    if blocks == 100_000:
        assert warm.reused_tokens.tolist() == cold.reused_tokens[30:].tolist()
    else:  # what is kept of a full cache differs by the blocks of answers
        assert warm.reused_tokens.sum() == pytest.approx(cold.reused_tokens[30:].sum(), rel=0.2)


def test_time_starts_when_the_last_of_those_before_came(tmp_path: Path) -> None:
    requests = simulate(scenario(trace(tmp_path), 30, 30)).requests
    assert requests.arrival.tolist() == [10 * 10**12 * (n + 1) for n in range(30)]


def test_memory_tiers_are_warm_too(tmp_path: Path) -> None:
    path = trace(tmp_path)
    client = {"enable_prefix_caching": False, "kv_tiers": ["pool"], "kv_fetch": "always"}
    cold = simulate(scenario(path, None, 60, **client)).requests
    warm = simulate(scenario(path, 30, 30, **client)).requests
    assert cold.fetched_tokens[30:].sum() > 0
    assert warm.fetched_tokens.tolist() == cold.fetched_tokens[30:].tolist()


def test_caches_are_cold_unless_asked(tmp_path: Path) -> None:
    requests = simulate(scenario(trace(tmp_path), None, 6)).requests
    assert requests.reused_tokens.sum() == 0


def test_there_must_be_something_to_find_and_somebody_to_find_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no more than 59 can come before"):
        simulate(scenario(trace(tmp_path), 60, 10))
    plain = {
        "workload": {"requests": {"sample": "chat"}, "warm_cache": 10, "limit": {"requests": 10}},
        "clients": {"chat": {"model": "llama-3.1-8b", "device": "h100-sxm"}},
    }
    with pytest.raises(InputError, match="share no prompts"):
        simulate(build_scenario(plain))
