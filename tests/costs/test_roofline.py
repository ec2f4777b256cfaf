"""The roofline obeys the laws of what it models."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.catalog import find_device, find_model
from hermes.costs.constants import find_constants
from hermes.costs.roofline import Roofline
from hermes.costs.work import compile_work
from hermes.errors import InfeasibleError
from hermes.scenario.device import DeviceSpec

H100 = find_device("h100")
LLAMA_8B = find_model("llama-3.1-8b")
MIXTRAL = find_model("mixtral-8x7b")
DEEPSEEK = find_model("DeepSeek-V3")
ROOFLINES = [
    Roofline(find_model(model), find_device(device), dtype, "auto", size)
    for model, device, dtype, size in [
        ("llama-3.1-8b", "h100", "auto", 1),
        ("llama-3.1-70b", "l40s", "fp8", 8),
        ("mixtral-8x7b", "a100", "auto", 2),
        ("DeepSeek-V3", "h200", "auto", 8),
        ("gpt-oss-120b", "h100", "auto", 1),
        ("gemma-2-27b", "mi300x", "auto", 4),
        ("llama-4-maverick", "b200", "auto", 8),
    ]
]
COUNTS = st.integers(0, 10**5)
AMOUNTS = st.floats(0, 1e10)


@given(
    st.sampled_from(ROOFLINES),
    st.tuples(COUNTS, COUNTS, AMOUNTS, AMOUNTS),
    st.integers(0, 3),
    st.floats(0, 1e6),
)
def test_more_of_anything_never_takes_less_time(roofline, batch, which, more):
    larger = list(batch)
    larger[which] += more if which > 1 else int(more)
    less, greater = roofline.seconds(*batch), roofline.seconds(*larger)
    assert greater >= less * (1 - 1e-12)  # the last bits of a power are the platform's
    assert math.isfinite(greater)


@given(
    st.sampled_from([LLAMA_8B, MIXTRAL, DEEPSEEK, find_model("gemma-2-27b")]),
    st.tuples(COUNTS, COUNTS, AMOUNTS, AMOUNTS),
)
def test_the_time_is_the_formula_of_its_parts(model, batch):
    """t = ((F/ec)^p + (M/em)^p)^(1/p) + o * layers + a * all-reduces + C/b + E/em."""
    roofline = Roofline(model, H100, "auto", "auto", 8)
    work = compile_work(model, H100, "auto", "auto", 8)
    c, part = roofline.constants, work.terms(*batch)
    bound = (
        (part.compute / c.compute_efficiency) ** c.sharpness
        + (part.memory / c.memory_efficiency) ** c.sharpness
    ) ** (1 / c.sharpness)
    fixed = c.layer_overhead_us * work.layers + c.allreduce_latency_us * work.allreduces
    rest = part.allreduce / c.link_efficiency + part.elementwise / c.memory_efficiency
    assert roofline.seconds(*batch) == pytest.approx(bound + fixed * 1e-6 + rest, rel=1e-9)


def test_compute_is_two_flops_a_weight_and_four_a_pair_and_value():
    work = compile_work(LLAMA_8B, H100, "auto", "auto", 1)
    weights = LLAMA_8B.total_parameters - 2 * LLAMA_8B.embedding_parameters
    attention = 4 * 32 * 128 * 32
    flops = 2 * weights * 1000 + attention * 1000 * 1001 / 2
    prompt = work.terms(1000, 0, 1000 * 1001 / 2, 1000)
    assert prompt.compute * 989e12 == pytest.approx(flops)


def test_memory_of_a_decode_step_is_weights_head_and_cache():
    work = compile_work(LLAMA_8B, H100, "auto", "auto", 1)
    read = 2 * (LLAMA_8B.total_parameters - LLAMA_8B.embedding_parameters) + 131_072 * 50_000
    step = work.terms(1, 1, 50_000, 50_000)
    assert step.memory * 3350e9 == pytest.approx(read, rel=0.001)


def test_the_head_runs_only_for_rows_that_sample():
    work = compile_work(LLAMA_8B, H100, "auto", "auto", 1)
    without, with_one = work.terms(512, 0, 1e5, 512), work.terms(512, 1, 1e5, 512)
    head = LLAMA_8B.embedding_parameters
    assert (with_one.compute - without.compute) * 989e12 == pytest.approx(2 * head)
    assert (with_one.memory - without.memory) * 3350e9 == pytest.approx(2 * head, rel=0.01)


def test_a_batch_reads_the_experts_it_is_expected_to_touch():
    """E * (1 - (1 - k/E)^tokens) of E experts: 2 of 8 for one token, practically all for 64."""
    work = compile_work(MIXTRAL, H100, "auto", "auto", 1)
    experts = 2 * 32 * 8 * MIXTRAL.expert_parameters / 3350e9
    fixed = work.terms(0, 0, 0, 0).memory
    token = work.token_memory
    assert work.terms(1, 0, 0, 0).memory - fixed - token == pytest.approx(experts * 2 / 8)
    assert work.terms(2, 0, 0, 0).memory - fixed - 2 * token == pytest.approx(experts * 7 / 16)
    assert work.terms(64, 0, 0, 0).memory - fixed - 64 * token == pytest.approx(experts, rel=1e-6)


def test_a_window_caps_what_its_layers_attend_to():
    windowed = compile_work(find_model("Mistral-7B-v0.1"), H100, "auto", "auto", 1)
    full = compile_work(find_model("Mistral-7B-v0.3"), H100, "auto", "auto", 1)
    assert windowed.terms(1, 0, 1000, 1000) == pytest.approx(full.terms(1, 0, 1000, 1000))
    at_window = windowed.terms(1, 0, 4096, 4096)
    assert windowed.terms(1, 0, 10**6, 10**6) == pytest.approx(at_window)
    assert full.terms(1, 0, 10**6, 10**6).memory > at_window.memory


def test_latent_attention_takes_the_cheaper_form():
    """On the latent for a decode step, on expanded keys for a long prompt."""
    work = compile_work(DEEPSEEK, H100, "auto", "auto", 8)
    decode = work.terms(1, 0, 10_000, 10_000).compute - work.token_compute
    assert decode == pytest.approx(work.wide_pair_compute * 10_000)
    pairs = 16_384 * 16_385 / 2
    prompt = work.terms(16_384, 0, pairs, 16_384).compute - work.token_compute * 16_384
    assert prompt == pytest.approx(work.pair_compute * pairs + work.expand_compute * 16_384)
    assert prompt < work.wide_pair_compute * pairs


def test_an_allreduce_is_a_ring_over_the_links():
    work = compile_work(LLAMA_8B, H100, "auto", "auto", 4)
    assert work.allreduces == 2 * 32 + 1
    moved = 65 * 2 * (4 - 1) / 4 * 1000 * 4096 * 2
    assert work.terms(1000, 0, 0, 0).allreduce == pytest.approx(moved / 450e9)
    assert compile_work(LLAMA_8B, H100, "auto", "auto", 1).allreduces == 0


def test_without_links_the_group_shares_the_host():
    l40s = find_device("l40s")
    two = compile_work(LLAMA_8B, l40s, "auto", "auto", 2).token_allreduce
    assert two == pytest.approx(65 * 4096 * 2 / 31e9)
    assert compile_work(LLAMA_8B, l40s, "auto", "auto", 4).token_allreduce > 1.5 * two


def test_a_group_beyond_the_scale_up_domain_falls_back_to_the_host():
    inside = compile_work(LLAMA_8B, H100, "auto", "auto", 8).token_allreduce
    assert compile_work(LLAMA_8B, H100, "auto", "auto", 16).token_allreduce > 5 * inside


def test_fp8_weights_halve_the_reading_and_double_the_peak():
    half = compile_work(LLAMA_8B, H100, "auto", "auto", 1)
    eight = compile_work(LLAMA_8B, H100, "fp8", "auto", 1)
    assert eight.fixed_memory == pytest.approx(half.fixed_memory / 2)
    assert eight.token_compute == pytest.approx(half.token_compute * 989 / 1979)
    assert eight.pair_compute == half.pair_compute


def test_a_device_without_fp8_unpacks_its_weights():
    a100 = find_device("a100")
    half = compile_work(LLAMA_8B, a100, "auto", "auto", 1)
    eight = compile_work(LLAMA_8B, a100, "fp8", "auto", 1)
    assert eight.token_compute == half.token_compute
    assert eight.fixed_memory < half.fixed_memory
    assert Roofline(LLAMA_8B, a100, "fp8").label == "roofline: uncalibrated"


def test_a_group_that_does_not_divide_the_heads_is_refused():
    with pytest.raises(InfeasibleError, match=r"^tensor_parallel_size: 3 .*\(allowed: 1, 2, 4, 8"):
        Roofline(LLAMA_8B, H100, tensor_parallel_size=3)


def test_a_device_that_cannot_multiply_the_type_is_refused():
    spec = DeviceSpec(peak_tflops={"int8": 100}, memory_gb=80, memory_bandwidth_gb_per_s=1000)
    with pytest.raises(InfeasibleError, match=r"^dtype: chip cannot multiply bf16 \(allowed: int8"):
        Roofline(LLAMA_8B, find_device("chip", {"chip": spec}))


@pytest.mark.parametrize(
    ("model", "device", "label"),
    [
        ("llama-3.1-8b", "h100", "roofline: calibrated"),
        ("llama-3.1-8b", "h200", "roofline: uncalibrated"),
        ("llama-3.1-8b", "mi300x", "roofline: uncalibrated"),
        ("mixtral-8x7b", "h100", "roofline: uncalibrated"),
    ],
)
def test_only_what_was_fitted_is_called_calibrated(model, device, label):
    assert Roofline(find_model(model), find_device(device)).label == label


def test_a_device_without_a_fit_borrows_from_its_chip_before_the_general_one():
    assert find_constants(H100, "bf16").device == "h100-sxm"
    assert find_constants(find_device("h200"), "bf16").device == "h100-sxm"
    assert find_constants(find_device("a100-sxm-40"), "fp16").device == "a100-sxm-80"
    assert find_constants(find_device("mi300x"), "fp8").device == "general"
    assert not find_constants(find_device("mi300x"), "fp8").calibrated


def test_faster_memory_is_never_slower():
    times = [
        Roofline(LLAMA_8B, find_device("chip", {"chip": _chip(bandwidth)})).seconds(8, 8, 1e4, 1e4)
        for bandwidth in (500, 1000, 2000, 4000)
    ]
    assert times == sorted(times, reverse=True)


def _chip(bandwidth: float) -> DeviceSpec:
    return DeviceSpec(peak_tflops={"bf16": 500}, memory_gb=80, memory_bandwidth_gb_per_s=bandwidth)
