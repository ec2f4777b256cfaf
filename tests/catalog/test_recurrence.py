"""Hybrid models and encoders, from their config.json."""

from __future__ import annotations

import dataclasses
import json

import pytest

from hermes.catalog import find_model
from hermes.errors import InputError

QWEN3_NEXT = {
    "model_type": "qwen3_next",
    "num_hidden_layers": 48,
    "hidden_size": 2048,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "head_dim": 256,
    "intermediate_size": 5120,
    "vocab_size": 151936,
    "max_position_embeddings": 262144,
    "num_experts": 512,
    "num_experts_per_tok": 10,
    "moe_intermediate_size": 512,
    "shared_expert_intermediate_size": 512,
    "full_attention_interval": 4,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_conv_kernel_dim": 4,
    "torch_dtype": "bfloat16",
}
JAMBA = {
    "model_type": "jamba",
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 65536,
    "max_position_embeddings": 262144,
    "num_experts": 16,
    "num_experts_per_tok": 2,
    "expert_layer_period": 2,
    "expert_layer_offset": 1,
    "attn_layer_period": 8,
    "attn_layer_offset": 4,
    "mamba_d_state": 16,
    "mamba_d_conv": 4,
    "mamba_expand": 2,
    "mamba_dt_rank": 256,
    "torch_dtype": "bfloat16",
}


def read(tmp_path, config):
    path = tmp_path / "some.json"
    path.write_text(json.dumps(config))
    return find_model(str(path))


@pytest.mark.parametrize(
    ("config", "name"),
    [(QWEN3_NEXT, "Qwen3-Next-80B-A3B-Instruct"), (JAMBA, "Jamba-v0.1")],
)
def test_the_catalog_and_the_file_agree(tmp_path, config, name):
    known = find_model(name)
    found = read(tmp_path, config)
    same = {"name": known.name, "source": known.source}
    assert dataclasses.replace(found, **same) == known


def test_a_hybrid_caches_only_what_attends():
    model = find_model("Qwen3-Next-80B-A3B-Instruct")
    assert model.num_attention_layers == 12
    assert model.kv_elements_per_token == 12 * 2 * 2 * 256
    assert model.total_parameters / 1e9 == pytest.approx(80, rel=0.01)


def test_listed_layers_are_counted(tmp_path):
    kinds = (["linear_attention"] * 5 + ["full_attention"]) * 8
    assert read(tmp_path, QWEN3_NEXT | {"layer_types": kinds}).num_linear_layers == 40


@pytest.mark.parametrize("kinds", [["linear_attention"], ["hyena"] * 48, "linear_attention"])
def test_layers_that_make_no_sense_are_refused(tmp_path, kinds):
    with pytest.raises(InputError, match=r"layer_types: expected a list of 48"):
        read(tmp_path, QWEN3_NEXT | {"layer_types": kinds})


def test_an_encoder_attends_both_ways(tmp_path):
    config = {
        "model_type": "bert",
        "num_hidden_layers": 12,
        "hidden_size": 768,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "vocab_size": 30522,
        "max_position_embeddings": 512,
        "torch_dtype": "float16",
    }
    found = read(tmp_path, config)
    known = find_model("e5-base")
    assert not found.causal
    assert dataclasses.replace(found, name=known.name, source=known.source) == known
