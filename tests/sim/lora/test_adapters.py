"""LoRA adapters: who is admitted, what is loaded when, and what it costs, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hermes.errors import InputError
from hermes.sim import simulate
from hermes.sim.deployment import resolve
from tests.sim.lora.cases import (
    ADAPTER_BYTES,
    finished_ms,
    first_ms,
    run,
    scenario,
    write_trace,
)


def test_an_adapter_is_loaded_once_before_its_first_step(tmp_path: Path) -> None:
    write_trace(tmp_path, [(0, 100, 2, 5), (1, 100, 2, 5), (2, 100, 2, -1)])
    result = run(scenario(), tmp_path)
    assert first_ms(result) == [11, 1010, 2010]  # a millisecond to load, then a step
    assert finished_ms(result) == [21, 1020, 2020]
    assert result.summary["adapter_loads"] == 1


def test_one_whose_adapter_does_not_fit_is_passed_over_and_keeps_its_place(tmp_path: Path) -> None:
    """With one slot: adapter 1 waits for adapter 0 to end, the base model and 0 do not."""
    requests = [(0, 10, 4, 0), (0.001, 10, 1, 1), (0.002, 10, 1, -1), (0.003, 10, 2, 0)]
    write_trace(tmp_path, requests)
    result = run(scenario(), tmp_path)
    # steps: 0-11 (load 0, prompt 0), 11-21 (prompts 2 and 3), 21-31, 31-41 (the last of 0),
    # 41-52 (load 1, prompt 1)
    assert finished_ms(result) == [41, 52, 21, 31]
    assert result.summary["adapter_loads"] == 2


def test_two_slots_let_two_adapters_run_together(tmp_path: Path) -> None:
    write_trace(tmp_path, [(0, 10, 4, 0), (0.001, 10, 1, 1), (0.002, 10, 1, 2)])
    result = run(scenario(max_loras=2), tmp_path)
    # 0-11 (0), 11-22 (load 1); 22-33: 1 is done, so 2 fits: load 2 in the place of 1
    assert finished_ms(result) == [43, 22, 33]


def test_more_popular_adapters_than_slots_thrash(tmp_path: Path) -> None:
    """Three adapters in turn and two slots: least recently used is always the next one."""
    turns = [(i / 10, 10, 1, i % 3) for i in range(30)]
    write_trace(tmp_path, turns)
    assert run(scenario(max_loras=2), tmp_path).summary["adapter_loads"] == 30
    assert run(scenario(max_loras=3), tmp_path).summary["adapter_loads"] == 3
    pairs = [(i / 10, 10, 1, i % 2) for i in range(30)]
    write_trace(tmp_path, pairs)
    assert run(scenario(max_loras=2), tmp_path).summary["adapter_loads"] == 2


def test_what_is_not_in_host_memory_comes_from_the_store(tmp_path: Path) -> None:
    """Twice the time for the whole adapter: 2 ms from the store, 1 ms from the host."""
    write_trace(tmp_path, [(i / 10, 10, 1, i % 3) for i in range(6)])
    store = ADAPTER_BYTES / 1e9 * 500
    small = run(scenario(lora_store_gb_per_s=store, max_cpu_loras=2), tmp_path)
    assert first_ms(small) == [100 * i + 13 for i in range(6)]
    large = run(scenario(lora_store_gb_per_s=store, max_cpu_loras=3), tmp_path)
    assert first_ms(large) == [13, 113, 213, 311, 411, 511]


def test_half_the_bytes_are_split_over_devices() -> None:
    """As vLLM splits: B of q, k, v, gate, up; A of o, down. So more than half of it is loaded."""
    client = resolve(scenario(tensor_parallel_size=2, device="h100-sxm")).clients[0]
    assert client.lora is not None
    h, w, kv, layers, rank = 4096, 14336, 1024, 32, 16
    split = (h + h // 2) + 2 * (h + kv // 2) + (h // 2 + h) + 2 * (h + w // 2) + (w // 2 + h)
    assert client.lora.device_bytes == 2 * rank * layers * split
    assert client.lora.whole_bytes == ADAPTER_BYTES


def test_slots_take_their_memory_from_the_kv_cache() -> None:
    def blocks(**client: Any) -> int:
        return resolve(scenario(**client)).clients[0].limits.num_blocks

    plain = blocks(enable_lora=False)
    block_bytes = 131_072 * 16
    for slots, rank in ((1, 16), (8, 16), (8, 64)):
        taken = slots * ADAPTER_BYTES * rank // 16 / block_bytes
        assert 0 <= plain - blocks(max_loras=slots, max_lora_rank=rank) - taken < 2
    assert blocks(num_gpu_blocks_override=1000, max_loras=8) == 999


def test_a_smaller_rank_loads_faster_and_takes_the_same_slot(tmp_path: Path) -> None:
    write_trace(tmp_path, [(0, 100, 1, 0)])
    small, full = scenario(lora_rank=8), scenario()
    assert first_ms(run(small, tmp_path)) == [10.5]
    assert resolve(small).clients[0].limits == resolve(full).clients[0].limits


def test_prefixes_of_different_adapters_do_not_match(tmp_path: Path) -> None:
    """Three requests with the same 64 tokens: only the one with the same adapter reuses them."""
    lines = ["arrival_s,prompt_tokens,output_tokens,attribute.adapter,block_ids,block_tokens"]
    lines += [f"{i},65,1,{a},1 2 3 4,16" for i, a in enumerate([0, 1, -1, 0, 1, -1])]
    (tmp_path / "trace.csv").write_text("\n".join(lines))
    result = run(scenario(max_loras=2), tmp_path)
    assert result.requests.reused_tokens.tolist() == [0, 0, 0, 64, 64, 64]
    base = run(scenario(enable_lora=False), tmp_path)
    assert base.requests.reused_tokens.tolist() == [0, 64, 64, 64, 64, 64]


def test_a_cell_without_an_adapter_is_the_base_model(tmp_path: Path) -> None:
    write_trace(tmp_path, [(0, 10, 1, -1)])
    with (tmp_path / "trace.csv").open("a") as file:
        file.write("1,10,1,\n2,10,1,7\n")
    assert run(scenario(), tmp_path).summary["adapter_loads"] == 1


def test_adapters_slow_steps_down() -> None:
    """Some 10 to 30 % of a decode step, as engines report; nothing for the base model."""

    def tpot(share: float) -> float:
        work = {
            "requests": {"lengths": {"prompt": 100, "output": 200}},
            "arrivals": {"process": "constant", "rate_per_s": 4},
            "limit": {"requests": 50},
            "adapters": {"count": 4, "share": share},
        }
        client = {"device": "h100-sxm", "costs": "roofline", "max_loras": 4}
        return float(simulate(scenario(work, **client), check=True).summary["tpot_ms.mean"] or 0)

    assert 1.05 < tpot(1) / tpot(0) < 1.6


def test_affinity_loads_less_than_least_loaded_and_answers_sooner() -> None:
    work = {
        "requests": {"lengths": {"prompt": 100, "output": 20}},
        "arrivals": {"process": "poisson", "rate_per_s": 30},
        "limit": {"requests": 400},
        "adapters": {"count": 8, "popularity": {"zipf": {"exponent": 0.8}}, "share": 0.8},
    }
    host = {"replicas": 4, "max_loras": 2, "lora_store_gb_per_s": 1.0}
    found = {
        name: run(scenario(work, routing=name, **host)).summary
        for name in ("least_loaded", "adapter_affinity")
    }
    loads = {name: summary["adapter_loads"] or 0 for name, summary in found.items()}
    assert loads["adapter_affinity"] < 0.5 * loads["least_loaded"]
    means = {name: summary["ttft_ms.mean"] or 0 for name, summary in found.items()}
    assert means["adapter_affinity"] < means["least_loaded"]


def test_affinity_gives_way_when_the_load_is_out_of_balance(tmp_path: Path) -> None:
    """All ask for one adapter: it stays where it is, until the other replica is much idler."""
    write_trace(tmp_path, [(i / 1000, 10, 50, 0) for i in range(20)])
    stays = scenario(replicas=2, routing="adapter_affinity")
    assert dict.fromkeys(run(stays, tmp_path).requests.replica.tolist()) == {0: None}
    balance = {"adapter_affinity": {"balance_abs_threshold": 2, "balance_rel_threshold": 1.0}}
    spread = run(scenario(replicas=2, routing=balance), tmp_path)
    assert 8 <= spread.requests.replica.tolist().count(1) <= 10


@pytest.mark.parametrize(
    ("client", "field"),
    [
        ({"speculative_config": {"num_speculative_tokens": 2, "acceptance_rate": 0.5}}, "spec"),
        ({"batching": "vllm"}, "batching"),
        ({"pipeline_parallel_size": 2}, "pipeline_parallel_size"),
        ({"prefill_schedule_interval": 2}, "prefill_schedule_interval"),
        ({"scheduling_policy": "fair"}, "scheduling_policy"),
        ({"max_loras": 100_000}, "max_loras"),
        ({"max_loras": 4, "max_cpu_loras": 2}, "max_cpu_loras"),
        ({"lora_rank": 32}, "lora_rank"),
        ({"max_lora_rank": 17}, "max_lora_rank"),
        ({"lora_target_modules": ["q_prj"]}, "lora_target_modules"),
        ({"lora_target_modules": ["q_proj", "q_proj"]}, "lora_target_modules"),
        ({"enable_lora": False, "max_loras": 2}, "max_loras"),
        ({"model": "mixtral-8x7b-v0.1", "device": "h100-sxm", "tensor_parallel_size": 4}, "target"),
        ({"model": "deepseek-v3", "device": "h200-sxm", "tensor_parallel_size": 8}, "enable_lora"),
    ],
)
def test_what_cannot_be_is_refused_by_name(client: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError, match=field) as refused:
        resolve(scenario(**client))
    assert "clients.chat" in str(refused.value)


@pytest.mark.parametrize(
    ("adapters", "field"),
    [
        ({"count": 0}, "count"),
        ({"count": 2, "share": 1.5}, "share"),
        ({"count": 2, "popularity": "zipff"}, "did you mean 'zipf'"),
        ({"count": 2, "popularity": {"zipf": {"exponent": -1}}}, "exponent"),
    ],
)
def test_adapters_of_a_workload_are_checked(adapters: dict[str, Any], field: str) -> None:
    work = {"requests": {"sample": "chat"}, "adapters": adapters}
    with pytest.raises(InputError, match=field):
        scenario(work)


def test_adapters_that_nobody_serves_are_refused() -> None:
    work = {"requests": {"sample": "chat"}, "adapters": {"count": 2}}
    with pytest.raises(InputError, match=r"workload\.adapters.*enable_lora"):
        scenario(work, enable_lora=False)


def test_a_trace_that_names_adapters_takes_no_others(tmp_path: Path) -> None:
    write_trace(tmp_path, [(0, 10, 1, 0)])
    work = {"requests": {"trace": "hermes", "path": "trace.csv"}, "adapters": {"count": 2}}
    with pytest.raises(InputError, match=r"workload\.adapters"):
        run(scenario(work), tmp_path)
