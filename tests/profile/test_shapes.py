"""Which points there are: the shapes of models, spanning what steps ask for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.catalog import find_device, find_model
from hermes.costs.chip import touched_experts
from hermes.costs.operators import pass_operators
from hermes.costs.tables.own import attention_shape
from hermes.errors import InputError, UnknownNameError
from hermes.profile.decoder import compact, holds_experts
from hermes.profile.families import plan_families
from hermes.profile.machine import Machine, catalog_device, scenario_name
from hermes.profile.operators.experts import expert_loads
from hermes.profile.physics import Peaks
from hermes.profile.reach import reach_of
from hermes.profile.serving_check import draw_trace, write_config
from hermes.profile.shapes_step import attention_points, linear_points, prefill_point

LLAMA, MIXTRAL = find_model("llama-3.1-8b"), find_model("mixtral-8x7b")
GPU = reach_of(
    Machine("cuda:0", "NVIDIA H200", 150 * 10**9, 50 * 2**20, 1, True, "580", "2", 16), 600
)


def test_every_product_of_a_model_is_measured_at_every_size_and_type():
    points = linear_points([LLAMA], GPU)
    shapes = {(each["n"], each["k"]) for each in points}
    for size in (1, 2, 4, 8):
        operators = pass_operators(LLAMA, "bf16", "bf16", size)
        assert {(each.n, each.k) for each in (*operators.linears, operators.head)} <= shapes
    tokens = {each["tokens"] for each in points if (each["n"], each["k"]) == (4096, 4096)}
    assert tokens == {2**power for power in range(14)}
    assert {each.dtype for each in points} == {"bf16", "fp8"}


@given(st.sampled_from([16, 64, 512, 4096]), st.sampled_from([32, 256, 2048]))
def test_prompts_lie_on_the_grid_that_the_table_interpolates(tokens, length):
    each = prefill_point((32, 8, 128), tokens, length)
    shape = attention_shape("prefill", (32, 8, 128), each["batch"], each["length"], each["prefix"])
    assert shape[-1] == tokens
    assert shape[-2] == pytest.approx(length, abs=2)


def test_attention_spans_batch_and_context():
    decodes = [each for each in attention_points([LLAMA], GPU) if each.operator == "decode"]
    assert {each["batch"] for each in decodes} >= {1, 256}
    assert {each["length"] for each in decodes} >= {16, 32768}


def test_what_does_not_fit_or_takes_too_long_is_not_planned():
    peaks = Peaks({"bf16": 1e15, "fp8": 2e15}, 4e12)
    for family in plan_families((), [LLAMA, MIXTRAL], GPU, peaks):
        assert family.points, family.name
        assert all(each.cold_bytes <= GPU.memory_bytes for each in family.points)
        assert all(peaks.least_seconds(each) <= GPU.call_seconds for each in family.points)


def test_an_unknown_family_is_named():
    peaks = Peaks({"bf16": 1e15}, 4e12)
    with pytest.raises(UnknownNameError, match=r"unknown operator 'gemm' .*linear"):
        plan_families(("gemm",), [LLAMA], GPU, peaks)


@given(st.integers(1, 300), st.integers(1, 8), st.integers(8, 64), st.booleans())
def test_routing_loses_no_token_and_gives_no_expert_one_twice(tokens, top_k, experts, skewed):
    loads = expert_loads(tokens, top_k, experts, skewed)
    assert len(loads) == experts
    assert sum(loads) == tokens * top_k
    assert max(loads) <= tokens
    assert loads == expert_loads(tokens, top_k, experts, skewed)
    assert skewed or max(loads) - min(loads) <= 1


def test_skewed_routing_is_skewed():
    loads = expert_loads(4096, 2, 8, True)
    assert loads[0] > 1.7 * 1024
    assert loads[-1] < 0.7 * 1024
    assert expert_loads(256, 2, 8, False) == [64] * 8


@pytest.mark.parametrize("tokens", [1, 2, 4, 8, 16, 32])
def test_few_tokens_touch_as_many_experts_as_they_would(tokens):
    """As many as tokens that choose by chance do, somewhat fewer for the skew."""
    touched = sum(load > 0 for load in expert_loads(tokens, 8, 128, True))
    assert 0.7 <= touched / touched_experts(128, 8, tokens) <= 1.05


@pytest.mark.parametrize(
    ("name", "gib", "found"),
    [
        ("NVIDIA H200", 140, "h200-sxm"),
        ("NVIDIA H100 80GB HBM3", 79, "h100-sxm"),
        ("NVIDIA L40S", 47, "l40s"),
        ("NVIDIA GeForce RTX 4090", 23.5, "rtx-4090"),
        ("Imaginary 9000", 80, None),
    ],
)
def test_a_driver_s_name_finds_the_catalog_s_device(name, gib, found):
    device = catalog_device(name, int(gib * 2**30))
    assert (device.name if device else None) == found


def test_a_name_for_scenarios_is_one():
    assert scenario_name("AMD EPYC 9B14 (96-Core)") == "amd-epyc-9b14-96-core"
    assert scenario_name("(tm)") == "tm"
    assert find_device(catalog_device("NVIDIA H200", 140 * 2**30).name).memory_gb > 100


def test_a_trace_is_drawn_from_its_seed():
    trace = draw_trace(2000, 5.0, 64, 16)
    assert trace == draw_trace(2000, 5.0, 64, 16)
    assert trace[-1].seconds == pytest.approx(400, rel=0.1)
    assert {each.prompt_tokens for each in trace} <= set(range(32, 97))
    assert min(each.output_tokens for each in trace) >= 8


SHARED = replace(
    MIXTRAL,
    first_k_dense_replace=1,
    moe_layer_step=2,
    num_shared_experts=2,
    shared_intermediate_size=2048,
)


@pytest.mark.parametrize("model", [LLAMA, MIXTRAL, find_model("qwen3-30b-a3b"), SHARED])
def test_a_compact_model_is_read_back_as_it_was_written(model, tmp_path):
    model = compact(model, 50e9, 6)
    write_config(tmp_path / "decoder" / "config.json", model)
    found = find_model("decoder/config.json", tmp_path)
    assert pass_operators(found, "bf16", "bf16", 1) == pass_operators(model, "bf16", "bf16", 1)
    assert found.total_parameters == model.total_parameters
    layers = range(found.num_hidden_layers)
    assert sum(holds_experts(found, layer) for layer in layers) == found.num_moe_layers


def test_what_no_compact_decoder_can_be_is_said():
    for name in ("deepseek-v3", "gpt-oss-120b", "e5-base"):
        with pytest.raises(InputError, match=r"is no decoder with grouped attention.*no window"):
            compact(find_model(name), 50e9, 6)
