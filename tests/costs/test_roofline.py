"""The roofline obeys the laws of what it models."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.catalog import find_device, find_model
from hermes.costs.chip import Chip, HeadShape, touched_experts
from hermes.costs.constants import find_laws
from hermes.costs.law import Amounts, Law
from hermes.costs.operators import pass_operators
from hermes.costs.pass_cost import ALIGNMENT
from hermes.costs.provenance import StepShape
from hermes.costs.roofline import Roofline
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


@given(st.sampled_from(ROOFLINES), COUNTS, st.integers(0, 10**4))
def test_more_tokens_or_rows_never_take_less_time(roofline, tokens, more):
    """Tiles of tokens apart: kernels in 8 bits like whole ones better than fewer tokens."""
    more *= ALIGNMENT
    for part in (roofline.token_seconds, roofline.row_seconds):
        assert 0 <= part(tokens) <= part(tokens + more) * (1 + 1e-12)


@given(st.sampled_from(ROOFLINES), st.integers(1, 512), COUNTS, COUNTS)
def test_more_keys_never_take_less_time(roofline, count, keys, more):
    less, greater = keys + count, keys + count + more
    assert 0 < roofline.decode_seconds(count, less) <= roofline.decode_seconds(count, greater)
    few = roofline.prefill_seconds(count, less, count * less)
    many = roofline.prefill_seconds(count, greater, count * greater)
    assert 0 < few <= many * (1 + 1e-12)
    assert math.isfinite(many)


def test_nothing_takes_no_time():
    for roofline in ROOFLINES:
        assert roofline.token_seconds(0) == roofline.row_seconds(0) == 0
        assert roofline.decode_seconds(0, 0) == roofline.prefill_seconds(0, 0, 0) == 0


def test_a_law_is_the_formula_of_its_constants():
    """t = ((F/ec + w*W)^p + (M/em)^p)^(1/p) + o + a*A."""
    law = Law("x", "vllm", "linear", "bf16", 0.5, 0.8, 2.0, 5.0, 0.1, 2.0)
    expected = math.hypot(3.0 / 0.5 + 0.1 * 4.0, 2.0 / 0.8) + 5e-6 + 2.0 * 0.5
    assert law.seconds(Amounts(3.0, 2.0, 4.0, 0.5)) == pytest.approx(expected)


def test_all_products_with_weights_are_two_flops_a_parameter():
    operators = pass_operators(LLAMA_8B, "auto", "auto", 1)
    weights = sum(each.n * each.k * each.count for each in operators.linears)
    assert weights == LLAMA_8B.total_parameters - 2 * LLAMA_8B.embedding_parameters
    assert operators.head.n * operators.head.k == LLAMA_8B.embedding_parameters
    one = Chip(H100).linear(1, 1000, 1000, "bf16")
    assert one.compute * 989e12 == pytest.approx(2e6)


@pytest.mark.parametrize("name", ["llama-3.1-70b", "DeepSeek-V3", "mixtral-8x7b", "gemma-2-9b"])
@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_a_group_shares_the_products(name, size):
    """What is not shared is what latent attention compresses, and the routers."""
    model = find_model(name)
    operators = pass_operators(model, "auto", "auto", size)
    weights = sum(each.n * each.k * each.count for each in operators.linears)
    embeddings = model.embedding_parameters * (1 if model.tie_word_embeddings else 2)
    routed = model.num_moe_layers * model.num_experts * model.expert_parameters
    whole = model.num_moe_layers * model.hidden_size * model.num_experts
    whole += model.key_value_parameters * model.num_hidden_layers if model.is_mla else 0
    shared = model.total_parameters - embeddings - routed - whole
    assert weights == pytest.approx(shared / size + whole)


def test_decode_attention_reads_the_cache_once():
    step = Chip(H100).decode_attention(8, 50_000, HeadShape(32, 8, 128, 128, 2.0))
    assert step.memory * 3350e9 == pytest.approx(50_000 * 131_072 / 32)


def test_causal_attention_is_counted_once():
    prompt = Chip(H100).prefill_attention(
        1000, 1000, 1000 * 1001 / 2, HeadShape(32, 8, 128, 128, 2.0)
    )
    assert prompt.compute * 989e12 == pytest.approx(4 * 32 * 128 * 1000 * 1001 / 2)


@given(st.integers(2, 512), st.data())
def test_a_batch_touches_the_experts_it_is_expected_to(experts, data):
    """E * (1 - (1 - k/E)^tokens): k for one token, practically all for many."""
    top_k = data.draw(st.integers(1, experts))
    assert touched_experts(experts, top_k, 1) == pytest.approx(top_k)
    assert touched_experts(experts, top_k, 10**5) == pytest.approx(experts, rel=1e-3)
    assert touched_experts(8, 2, 2) == pytest.approx(8 * 7 / 16)


def test_expert_parallelism_deals_whole_experts():
    sliced = pass_operators(MIXTRAL, "auto", "auto", 8).experts
    dealt = pass_operators(MIXTRAL, "auto", "auto", 8, expert_parallel=True).experts
    assert (sliced.shape.width, sliced.shape.groups) == (MIXTRAL.moe_intermediate_size / 8, 1)
    assert (dealt.shape.width, dealt.shape.groups) == (MIXTRAL.moe_intermediate_size, 8)


def test_a_window_caps_what_its_layers_attend_to():
    windowed = Roofline(find_model("Mistral-7B-v0.1"), H100)
    full = Roofline(find_model("Mistral-7B-v0.3"), H100)
    assert windowed.decode_seconds(1, 1000) == full.decode_seconds(1, 1000)
    assert windowed.decode_seconds(1, 10**6) == windowed.decode_seconds(1, 4096)
    assert full.decode_seconds(1, 10**6) > windowed.decode_seconds(1, 10**6)


def test_alternating_windows_pay_for_the_layers_that_see_everything():
    gemma = Roofline(find_model("gemma-2-27b"), H100)
    growth = gemma.decode_seconds(1, 40_000) - gemma.decode_seconds(1, 20_000)
    assert growth > 0
    layers = pass_operators(find_model("gemma-2-27b"), "auto", "auto", 1).attention
    assert [(each.count, each.window) for each in layers] == [(23, 0), (23, 4096)]


def test_latent_attention_caches_little_and_computes_much():
    latent = pass_operators(DEEPSEEK, "auto", "auto", 8).attention[0]
    law = find_laws(H100).find("mla_decode", "bf16")
    whole = Chip(H100).decode_attention(8, 8000, latent.decode_shape, latent=True)
    assert whole.memory * 3350e9 == pytest.approx(8000 * 576 * 2)
    assert whole.compute * 989e12 == pytest.approx(2 * 8000 * 16 * (576 + 512))
    assert law.calibrated


def test_an_allreduce_is_a_ring_over_the_links():
    amounts = Chip(H100).allreduce(1000 * 4096 * 2, 4)
    assert amounts.memory == pytest.approx(2 * (4 - 1) / 4 * 1000 * 4096 * 2 / 450e9)
    assert pass_operators(LLAMA_8B, "auto", "auto", 4).allreduces == 2 * 32 + 1
    assert pass_operators(LLAMA_8B, "auto", "auto", 1).allreduces == 0


def test_without_links_the_group_shares_the_host():
    l40s = Chip(find_device("l40s"))
    two = l40s.allreduce(8192, 2).memory
    assert two == pytest.approx(8192 / 31e9)
    assert l40s.allreduce(8192, 4).memory > 1.5 * two


def test_a_group_beyond_the_scale_up_domain_falls_back_to_the_host():
    chip = Chip(H100)
    assert chip.allreduce(8192, 16).memory > 5 * chip.allreduce(8192, 8).memory


def test_fp8_weights_halve_the_reading_and_double_the_peak():
    half, eight = (Chip(H100).linear(1, 4096, 4096, dtype) for dtype in ("bf16", "fp8"))
    assert eight.memory == pytest.approx(half.memory / 2, rel=0.001)
    assert eight.compute == pytest.approx(half.compute * 989 / 1979)
    assert half.extra == 0 < eight.extra  # its inputs are quantized on the way


def test_weights_alone_in_four_bits_are_multiplied_in_sixteen():
    half, four = (Chip(H100).linear(1, 4096, 4096, dtype) for dtype in ("bf16", "int4"))
    assert four.compute == half.compute
    assert four.memory == pytest.approx(half.memory / 4, rel=0.01)


def test_a_device_without_fp8_unpacks_its_weights():
    a100 = find_device("a100")
    half, eight = (Chip(a100).linear(1, 4096, 4096, dtype) for dtype in ("bf16", "fp8"))
    assert eight.compute == half.compute
    assert eight.memory < half.memory
    assert Roofline(LLAMA_8B, a100, "fp8").label == "roofline: uncalibrated"


def test_a_group_that_does_not_divide_the_heads_is_refused():
    with pytest.raises(InfeasibleError, match=r"^tensor_parallel_size: 3 .*\(allowed: 1, 2, 4, 8"):
        Roofline(LLAMA_8B, H100, tensor_parallel_size=3)


def test_a_device_that_cannot_multiply_the_type_is_refused():
    spec = DeviceSpec(peak_tflops={"int8": 100}, memory_gb=80, memory_bandwidth_gb_per_s=1000)
    with pytest.raises(InfeasibleError, match=r"^dtype: chip cannot multiply bf16 \(allowed: int8"):
        Roofline(LLAMA_8B, find_device("chip", {"chip": spec}))


def test_devices_without_any_way_to_reduce_are_refused():
    lonely = _chip(1000).model_copy(update={"host_bandwidth_gb_per_s": 0})
    device = find_device("chip", {"chip": lonely})
    with pytest.raises(InfeasibleError, match="neither links nor a known host bandwidth"):
        Roofline(LLAMA_8B, device, tensor_parallel_size=2)


@pytest.mark.parametrize(
    ("model", "device", "size", "label"),
    [
        ("llama-3.1-8b", "h100", 1, "roofline: calibrated"),
        ("llama-3.1-70b", "h100", 8, "roofline: calibrated"),
        ("mixtral-8x7b", "h100", 1, "roofline: calibrated"),
        ("DeepSeek-V3", "b200", 8, "roofline: calibrated"),
        ("llama-3.1-8b", "h200", 1, "roofline: uncalibrated"),
        ("llama-3.1-8b", "mi300x", 1, "roofline: uncalibrated"),
        ("gpt-oss-120b", "h100", 1, "roofline: uncalibrated"),
        ("DeepSeek-V3", "a100", 8, "roofline: uncalibrated"),
    ],
)
def test_only_what_was_fitted_is_called_calibrated(model, device, size, label):
    roofline = Roofline(find_model(model), find_device(device), tensor_parallel_size=size)
    assert roofline.label == label


def test_a_device_without_a_fit_borrows_from_its_chip_before_the_general_one():
    def origin(device: str, dtype: str) -> str:
        return find_laws(find_device(device)).find("linear", dtype).device

    assert origin("h100", "bf16") == "h100-sxm"
    assert origin("h200", "bf16") == "h100-sxm"
    assert origin("a100-sxm-40", "fp16") == "a100-sxm-80"
    assert origin("mi300x", "fp8") == "general"
    assert not find_laws(find_device("mi300x")).find("linear", "fp8").calibrated


def test_scales_per_block_cost_time_where_the_kernels_are_slow():
    """DeepSeek is published with them; DeepGEMM takes them for nothing."""
    slow, fast = (
        Roofline(DEEPSEEK, H100, tensor_parallel_size=8, laws=laws)
        for laws in (find_laws(H100), find_laws(H100, deep_gemm=True))
    )
    assert {each.dtype for each in slow.operators.linears} == {"fp8_block", "bf16"}
    assert fast.token_seconds(512) < slow.token_seconds(512)
    quantized = pass_operators(LLAMA_8B, "fp8", "auto", 1)
    assert {each.dtype for each in quantized.linears} == {"fp8"}


def test_launches_that_an_engine_hides_take_less_time():
    eager, fused = (Roofline(LLAMA_8B, H100, laws=find_laws(H100, x)) for x in (1.0, 0.6))
    assert fused.token_seconds(1) < eager.token_seconds(1)


def test_faster_memory_is_never_slower():
    times = []
    for bandwidth in (500, 1000, 2000, 4000):
        roofline = Roofline(LLAMA_8B, find_device("chip", {"chip": _chip(bandwidth)}))
        times.append(roofline.token_seconds(8) + roofline.decode_seconds(8, 10**4))
    assert times == sorted(times, reverse=True)


def _chip(bandwidth: float) -> DeviceSpec:
    return DeviceSpec(peak_tflops={"bf16": 500}, memory_gb=80, memory_bandwidth_gb_per_s=bandwidth)


@pytest.mark.parametrize(
    ("model", "size", "groups"),
    [
        ("llama-3.1-70b", 4, 1),
        ("mixtral-8x7b", 2, 1),
        ("DeepSeek-V3", 8, 1),
        ("Qwen3-30B-A3B", 1, 4),
    ],
)
def test_the_parts_of_a_step_are_the_whole_of_it(model, size, groups):
    cost = Roofline(
        find_model(model), find_device("h100"), tensor_parallel_size=size, data_parallel_size=groups
    )
    shape = StepShape(16, 16_000, 512, 1024, 512 * 1024 + 512 * 513 // 2)
    whole = (
        cost.token_seconds(528)
        + cost.row_seconds(16)
        + cost.decode_seconds(16, 16_016)
        + cost.prefill_seconds(512, 1536, shape.prefill_pairs)
    )
    assert sum(part.seconds for part in cost.parts(shape)) == pytest.approx(whole)
    names = {part.operator for part in cost.parts(shape)}
    assert ("exchange" in names) == (groups > 1)
    assert ("all-reduce" in names) == (size > 1)
