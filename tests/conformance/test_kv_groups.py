"""Models with sliding windows: the groups of layers and the blocks that vLLM itself makes."""

from __future__ import annotations

from typing import Any

import pytest

from hermes.catalog import Model, find_device, find_model
from hermes.costs.kv_groups import kv_groups
from hermes.costs.memory import kv_bytes_per_token_per_device, num_gpu_blocks
from hermes.sim.batching.vllm_scheduler import is_vllm_installed
from hermes.sim.limits import most_window_blocks

pytestmark = [
    pytest.mark.skipif(not is_vllm_installed(), reason="vLLM is not installed (extra [vllm])"),
    pytest.mark.filterwarnings("ignore"),  # vLLM's own
]
FULL_EVERY = {
    "gemma-2-9b": 2,
    "gemma-2-27b": 2,
    "gemma-3-1b-it": 6,
    "gemma-3-4b-it": 6,
    "gemma-3-12b-it": 6,
    "gemma-3-27b-it": 6,
    "gpt-oss-20b": 2,
    "gpt-oss-120b": 2,
    "Mistral-7B-v0.1": 0,
}
AVAILABLE = 40 * 10**9  # bytes


def vllm_specs(model: Model, every: int) -> dict[str, Any]:
    """Return the layers of a model as vLLM describes them, in order."""
    import torch
    from vllm.v1.kv_cache_interface import FullAttentionSpec, SlidingWindowSpec

    size: dict[str, Any] = {
        "block_size": 16,
        "num_kv_heads": model.num_key_value_heads,
        "head_size": model.head_dim,
        "dtype": torch.bfloat16,
    }
    window = SlidingWindowSpec(**size, sliding_window=model.sliding_window)
    return {
        f"layer{i}": FullAttentionSpec(**size) if every and (i + 1) % every == 0 else window
        for i in range(model.num_hidden_layers)
    }


def vllm_cache(specs: dict[str, Any]) -> Any:
    """Return vLLM's cache of some layers in the memory that is available."""
    from vllm.v1.core.kv_cache_planning import (
        get_kv_cache_config_from_groups,
        get_kv_cache_groups,
    )

    from tests.conformance.record.engine import _config
    from tests.conformance.record.window_cases import CASES

    config = _config(CASES[0].options)
    config.cache_config.kv_cache_layout = "LBNHC"
    config.scheduler_config.disable_hybrid_kv_cache_manager = False  # as on GPUs
    return get_kv_cache_config_from_groups(config, get_kv_cache_groups(config, specs), AVAILABLE)


@pytest.mark.parametrize("name", FULL_EVERY)
def test_groups_and_blocks_are_those_of_vllm(name: str) -> None:
    from vllm.v1.kv_cache_interface import FullAttentionSpec

    model = find_model(name)
    cache, ours = vllm_cache(vllm_specs(model, FULL_EVERY[name])), kv_groups(model)
    assert ours is not None
    full = [isinstance(g.kv_cache_spec, FullAttentionSpec) for g in cache.kv_cache_groups]
    assert (full.count(True), full.count(False)) == (ours.full, ours.sliding)
    assert not full[0]  # groups with a window come first, as the recorder and the engine have them
    assert max(len(group.layer_names) for group in cache.kv_cache_groups) == ours.layers
    token = kv_bytes_per_token_per_device(model, "auto", 1) // model.num_hidden_layers
    assert AVAILABLE // (token * ours.layers * 16) == cache.num_blocks


@pytest.mark.parametrize(("budget", "longest"), [(512, 16_384), (8192, 131_072), (2048, 600)])
def test_a_window_holds_at_most_what_vllm_admits(budget: int, longest: int) -> None:
    spec = next(iter(vllm_specs(find_model("gemma-3-27b-it"), 6).values()))
    theirs = spec.max_admission_blocks_per_request(budget, longest)
    assert most_window_blocks(1024, budget, longest, 16) == theirs


def test_a_block_holds_the_layers_of_one_group() -> None:
    model, device = find_model("gemma-3-27b-it"), find_device("h100-sxm")
    whole = num_gpu_blocks(device, model, "auto", "auto", 1, 16, 0.92)
    grouped = num_gpu_blocks(device, model, "auto", "auto", 1, 16, 0.92, groups=kv_groups(model))
    assert grouped == pytest.approx(whole * 62 / 10, abs=7)
