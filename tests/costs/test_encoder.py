"""Encoders attend both ways, sample nothing, and cost what their tokens and pairs cost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.catalog import find_device, find_model
from hermes.costs.encoder import (
    EncoderCost,
    check_encoder_fits,
    encoder_bytes_per_device,
    encoder_pairs,
)
from hermes.costs.roofline import Roofline
from hermes.errors import InfeasibleError
from hermes.scenario.device import DeviceSpec

ENCODERS = (
    "e5-small-v2",
    "e5-base",
    "multilingual-e5-small",
    "multilingual-e5-base",
    "multilingual-e5-large",
    "e5-mistral-7b-instruct",
    "bge-small-en-v1.5",
    "bge-base-en-v1.5",
    "bge-large-en-v1.5",
    "bge-m3",
    "bge-reranker-base",
    "bge-reranker-large",
    "bge-reranker-v2-m3",
    "mxbai-rerank-large-v1",
    "jina-reranker-v2-base-multilingual",
    "clip-vit-large-patch14-336",
    "siglip-so400m",
    "qwen2.5-vl-vit",
)
DEVICES = ("h100-sxm", "l4", "mi210", "xeon-8480p", "grace")


def flops(model, lengths):
    """Return the multiply-adds of a batch, counted from the dimensions alone, times two."""
    layer = 2 * model.hidden_size * (model.num_attention_heads * model.head_dim)
    layer += 2 * model.hidden_size * (model.num_key_value_heads * model.head_dim)
    layer += (3 if model.gated_mlp else 2) * model.hidden_size * model.intermediate_size
    width = model.num_attention_heads * model.head_dim
    pairs = encoder_pairs(model, lengths)
    near = pairs
    if model.sliding_window:
        near = min(pairs, model.sliding_window * sum(lengths))
    full = model.num_hidden_layers - model.num_sliding_layers
    attended = full * pairs + model.num_sliding_layers * near
    return 2 * model.num_hidden_layers * layer * sum(lengths) + 4 * width * attended


def test_an_encoders_pairs_are_squares_and_a_causal_embedders_half():
    assert encoder_pairs(find_model("e5-base"), [3, 5]) == 9 + 25
    assert encoder_pairs(find_model("e5-mistral-7b-instruct"), [3, 5]) == 6 + 15


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("device", DEVICES)
def test_no_batch_is_faster_than_the_datasheet_nor_much_slower_once_large(name, device):
    model, hardware = find_model(name), find_device(device)
    lengths = [512] * 64
    peaks = hardware.peak_tflops
    peak = peaks["fp32"] if hardware.kind == "cpu" else peaks["bf16"]
    seconds = EncoderCost(model, hardware).batch_seconds(lengths)
    least = flops(model, lengths) / (peak * 1e12)
    assert least < seconds < 6 * least


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("dtype", ["auto", "int8", "fp8"])
def test_a_pass_is_the_rooflines_without_a_head_or_a_cache(dtype, size):
    model, device = find_model("bge-m3"), find_device("h100-sxm")
    cost = EncoderCost(model, device, dtype, size, factor=1.0)
    roofline = Roofline(model, device, dtype, tensor_parallel_size=size)
    doubled = EncoderCost(model, device, dtype, size, factor=2.0)
    for tokens in (1, 7, 1000, 8191):
        pairs = 300 * tokens
        whole = roofline.token_seconds(tokens) + roofline.prefill_seconds(tokens, tokens, pairs)
        assert cost.seconds(tokens, pairs, 4) == pytest.approx(whole, rel=1e-9)
        assert doubled.seconds(tokens, pairs, 4) == pytest.approx(2 * whole, rel=1e-9)


def test_processors_compute_in_32_bits_unless_told_otherwise():
    model, device = find_model("e5-base"), find_device("xeon-8480p")
    lengths = [256] * 16
    plain = EncoderCost(model, device).batch_seconds(lengths)
    assert plain == EncoderCost(model, device, "fp32").batch_seconds(lengths)
    assert EncoderCost(model, device, "bf16").batch_seconds(lengths) < 0.2 * plain
    without = replace(device, peak_tflops={"fp32": device.peak_tflops["fp32"]})
    assert EncoderCost(model, without).batch_seconds(lengths) == plain


def test_an_embedding_takes_what_the_paper_says_and_its_attention():
    """1,155 tokens through E5-base: 42 ms at 0.75 of 6.27 TFLOP/s, without attention."""
    model, length = find_model("multilingual-e5-base"), 1155
    spec = DeviceSpec(
        kind="cpu", peak_tflops={"fp32": 6.27}, memory_gb=4000, memory_bandwidth_gb_per_s=308
    )
    computing = model.total_parameters - model.embedding_parameters
    theirs = 2 * computing * length / (0.75 * 6.27e12)
    assert theirs == pytest.approx(0.042, rel=0.02)
    attention = flops(model, [length]) / (2 * computing * length)
    seconds = EncoderCost(model, find_device("spr", {"spr": spec}), factor=1.0)
    assert seconds.batch_seconds([length]) == pytest.approx(theirs * attention, rel=0.15)


def test_an_image_of_qwens_encoder_attends_in_windows():
    model = find_model("qwen2.5-vl-vit")
    everywhere = replace(model, sliding_window=None, num_sliding_layers=0)
    device = find_device("h100-sxm")
    small, large = [256], [16384]
    assert EncoderCost(model, device).batch_seconds(large) < 0.7 * EncoderCost(
        everywhere, device
    ).batch_seconds(large)
    assert EncoderCost(model, device).batch_seconds(small) == pytest.approx(
        EncoderCost(everywhere, device).batch_seconds(small), rel=0.05
    )


@given(
    name=st.sampled_from(ENCODERS),
    device=st.sampled_from(DEVICES),
    lengths=st.lists(st.integers(1, 512), min_size=1, max_size=40),
    more=st.integers(1, 512),
)
def test_more_text_never_takes_less_and_a_batch_never_more_than_its_texts(
    name, device, lengths, more
):
    cost = EncoderCost(find_model(name), find_device(device))
    together = cost.batch_seconds(lengths)
    assert 0 < together <= cost.batch_seconds([*lengths, more])
    assert together <= sum(cost.batch_seconds([length]) for length in lengths) * (1 + 1e-9)


def test_nothing_takes_no_time():
    assert EncoderCost(find_model("e5-base"), find_device("l4")).batch_seconds([]) == 0.0


def test_the_label_says_what_is_fitted():
    label = EncoderCost(find_model("e5-base"), find_device("h100-sxm")).label
    assert label == "encoder roofline: calibrated, engine x 1.59"
    assert "uncalibrated" in EncoderCost(find_model("e5-base"), find_device("grace")).label


# -- memory ---------------------------------------------------------------------------------------


def test_an_encoder_occupies_its_published_parameters():
    for name, billions in (("bge-m3", 0.568), ("multilingual-e5-small", 0.118)):
        occupied = encoder_bytes_per_device(find_model(name), find_device("l4"))
        assert occupied / 2e9 == pytest.approx(billions, rel=0.03)
    mistral = encoder_bytes_per_device(find_model("e5-mistral-7b-instruct"), find_device("l4"))
    assert mistral / 2e9 == pytest.approx(7.11, rel=0.01)
    on_processor = encoder_bytes_per_device(find_model("bge-m3"), find_device("grace"))
    assert on_processor / 4e9 == pytest.approx(0.568, rel=0.03)


def test_what_does_not_fit_is_refused_with_what_is_needed_and_there():
    model, device = find_model("e5-mistral-7b-instruct"), find_device("tpu-v5e")
    left = check_encoder_fits(model, device)
    assert left == device.memory_bytes - encoder_bytes_per_device(model, device)
    with pytest.raises(
        InfeasibleError, match=r"model: .*bf16 needs 1\d\.\d GB of each tpu-v5e at 1"
    ):
        check_encoder_fits(model, device, reserved_bytes=4 * 10**9)
    assert check_encoder_fits(model, device, "auto", 2, 8192, 4 * 10**9) > 0
    with pytest.raises(InfeasibleError, match="3 does not divide"):
        check_encoder_fits(model, device, tensor_parallel_size=3)
