"""Weights and KV cache split over a group as engines split them, and must fit."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.catalog import find_device, find_model, model_names
from hermes.costs.memory import (
    allowed_tensor_parallel_sizes,
    kv_bytes_per_token,
    kv_bytes_per_token_per_device,
    num_gpu_blocks,
    resolve_dtype,
    weight_bytes_per_device,
)
from hermes.errors import InfeasibleError, UnknownNameError

LLAMA_8B = find_model("llama-3.1-8b")
LLAMA_70B = find_model("llama-3.1-70b")
DEEPSEEK = find_model("DeepSeek-V3")
MODELS = st.sampled_from(model_names()).map(find_model)


@pytest.mark.parametrize(
    ("model", "kv_dtype", "size"),
    [
        ("Meta-Llama-3-70B", "auto", 327_680),
        ("llama-3.1-8b", "bfloat16", 131_072),
        ("llama-3.1-8b", "fp8_e4m3", 65_536),
        ("DeepSeek-V3", "auto", 70_272),
    ],
)
def test_bytes_cached_for_a_token(model, kv_dtype, size):
    assert kv_bytes_per_token(find_model(model), kv_dtype) == size


def test_kv_heads_split_until_there_are_none_left_to_split():
    per_device = [kv_bytes_per_token_per_device(LLAMA_8B, "auto", size) for size in (1, 2, 8, 16)]
    assert per_device == [131_072, 65_536, 16_384, 16_384]


def test_the_latent_lies_on_every_device_whole():
    assert kv_bytes_per_token_per_device(DEEPSEEK, "auto", 8) == 70_272


def test_sixteen_bit_weights_are_two_bytes_a_parameter():
    assert weight_bytes_per_device(LLAMA_8B, "auto", 1) == 2 * LLAMA_8B.total_parameters


def test_embeddings_stay_in_sixteen_bits_when_the_rest_is_quantized():
    embeddings = 2 * LLAMA_8B.embedding_parameters
    layers = LLAMA_8B.total_parameters - embeddings
    assert weight_bytes_per_device(LLAMA_8B, "fp8", 1) == layers + 2 * embeddings


def test_only_the_experts_of_gpt_oss_are_packed():
    """OpenAI gives its checkpoint as 60.8 GiB."""
    packed = weight_bytes_per_device(find_model("gpt-oss-120b"), "auto", 1)
    assert packed / 2**30 == pytest.approx(60.8, rel=0.01)


def test_a_quantized_checkpoint_stays_quantized_when_activations_are_sixteen_bit():
    assert resolve_dtype(DEEPSEEK, "bfloat16") == "fp8"
    assert resolve_dtype(LLAMA_8B, "bfloat16") == "bf16"
    assert resolve_dtype(LLAMA_8B, "fp8") == "fp8"


def test_a_misspelt_data_type_names_the_field():
    with pytest.raises(UnknownNameError, match=r"^kv_cache_dtype: unknown data type 'fp9'"):
        kv_bytes_per_token(LLAMA_8B, "fp9")


@given(MODELS, st.data())
def test_a_group_holds_at_least_the_model_and_a_larger_one_less_on_each(model, data):
    sizes = allowed_tensor_parallel_sizes(model)
    small, large = sorted(data.draw(st.tuples(st.sampled_from(sizes), st.sampled_from(sizes))))
    whole = weight_bytes_per_device(model, "auto", 1)
    assert small * weight_bytes_per_device(model, "auto", small) >= whole * (1 - 1e-9)
    assert weight_bytes_per_device(model, "auto", large) <= weight_bytes_per_device(
        model, "auto", small
    )


def test_blocks_match_a_real_engine():
    """VLLM 0.19 found 2,588 blocks for Llama-3.1-8B on a GeForce RTX 4090 at 0.9."""
    blocks = num_gpu_blocks(find_device("rtx-4090"), LLAMA_8B, "auto", "auto", 1, 16, 0.9)
    assert blocks == pytest.approx(2588, rel=0.01)


def test_blocks_fill_what_the_weights_leave():
    h100 = find_device("h100")
    blocks = num_gpu_blocks(h100, LLAMA_8B, "auto", "auto", 1, 16, 0.92)
    used = blocks * 16 * 131_072 + weight_bytes_per_device(LLAMA_8B, "auto", 1)
    assert 0.9 * 0.92 * h100.memory_bytes < used < 0.92 * h100.memory_bytes


def test_a_model_that_does_not_fit_says_what_is_needed_and_what_would():
    with pytest.raises(InfeasibleError) as caught:
        num_gpu_blocks(find_device("h100"), LLAMA_70B, "auto", "auto", 1, 16, 0.92)
    assert caught.value.field == "tensor_parallel_size"
    assert "needs 142.4 GB of each h100-sxm" in caught.value.message
    assert "offers 78.2 GB" in caught.value.message
    assert "the smallest that fits is 2" in caught.value.message


def test_a_model_that_never_fits_says_so():
    tiny = replace(find_device("t4"), memory_gb=1)
    with pytest.raises(InfeasibleError, match="no allowed size fits"):
        num_gpu_blocks(tiny, LLAMA_70B, "auto", "auto", 8, 16, 0.92)


@pytest.mark.parametrize("size", [0, 3, 5, 64])
def test_a_group_that_does_not_divide_the_heads_is_answered_with_those_that_do(size):
    with pytest.raises(
        InfeasibleError, match=r"32 attention heads \(allowed: 1, 2, 4, 8, 16, 32\)"
    ):
        num_gpu_blocks(find_device("h100"), LLAMA_8B, "auto", "auto", size, 16, 0.92)


def test_kv_heads_and_widths_bind_too():
    qwen = find_model("Qwen2.5-7B")  # 28 heads over 4 KV heads: 7 and 14 leave KV heads over
    assert allowed_tensor_parallel_sizes(qwen) == (1, 2, 4)  # 28 does not divide the width 18,944
