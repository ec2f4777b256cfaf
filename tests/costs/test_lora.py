"""Sizes of LoRA adapters against published ones, and the laws of what they add to a step."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.catalog import find_device, find_model
from hermes.costs.lora import LoraCost, adapter_bytes, lora_modules
from hermes.errors import InfeasibleError

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
ALL = (*ATTENTION, "gate_proj", "up_proj", "down_proj")


@pytest.mark.parametrize(
    ("model", "targets", "rank", "parameters"),
    [
        # "trainable params" as PEFT prints them
        ("llama-3.1-8b", ALL, 16, 41_943_040),
        ("llama-3.1-8b", ("q_proj", "v_proj"), 8, 3_407_872),
        ("llama-3.1-8b", ATTENTION, 16, 13_631_488),
        ("llama-3.1-70b", ALL, 16, 207_093_760),
    ],
)
def test_sizes_are_those_that_peft_reports(
    model: str, targets: tuple[str, ...], rank: int, parameters: int
) -> None:
    modules = lora_modules(find_model(model), targets, 1)
    assert adapter_bytes(modules, rank) == 2 * parameters


@given(st.sampled_from([1, 2, 4, 8]), st.sampled_from([8, 16, 64]))
def test_devices_hold_together_what_is_split_once_and_what_is_copied_each(
    size: int, rank: int
) -> None:
    """A of columns and B of rows are whole on every device, the others split."""
    model = find_model("llama-3.1-70b")
    whole = adapter_bytes(lora_modules(model, ALL, 1), rank)
    hidden = model.hidden_size
    copied = 2 * rank * hidden * len(ALL) * model.num_hidden_layers
    assert size * adapter_bytes(lora_modules(model, ALL, size), rank) == whole + (size - 1) * copied


@given(st.integers(1, 4096), st.integers(1, 16))
def test_more_tokens_adapters_and_rank_never_take_less(tokens: int, adapters: int) -> None:
    device, modules = find_device("h100-sxm"), lora_modules(find_model("llama-3.1-8b"), ALL, 1)
    cost, larger = LoraCost(modules, 16, device), LoraCost(modules, 64, device)
    seconds = cost.seconds(tokens, adapters)
    assert 0 < seconds <= cost.seconds(tokens + 1, adapters)
    assert seconds <= cost.seconds(tokens, adapters + 1)
    assert seconds < larger.seconds(tokens, adapters)
    assert cost.seconds(0, 0) == 0


def test_never_faster_than_the_device_can() -> None:
    """Arithmetic and weights at datasheet peaks are a lower bound."""
    device, modules = find_device("h100-sxm"), lora_modules(find_model("llama-3.1-8b"), ALL, 1)
    cost = LoraCost(modules, 64, device)
    parameters = adapter_bytes(modules, 64) / 2
    for tokens, adapters in ((1, 1), (64, 8), (8192, 4)):
        flops = 2 * tokens * parameters / (device.peak_tflops["bf16"] * 1e12)
        bytes_ = adapters * 2 * parameters / (device.memory_bandwidth_gb_per_s * 1e9)
        assert cost.seconds(tokens, adapters) > max(flops, bytes_)


def test_what_a_model_does_not_have_is_refused() -> None:
    with pytest.raises(InfeasibleError, match="routed experts"):
        lora_modules(find_model("mixtral-8x7b-v0.1"), ALL, 1)
    assert len(lora_modules(find_model("mixtral-8x7b-v0.1"), ATTENTION, 1)) == 4
    with pytest.raises(InfeasibleError, match="latent attention"):
        lora_modules(find_model("deepseek-v3"), ATTENTION, 1)
