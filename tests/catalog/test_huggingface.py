"""A Hugging Face config.json becomes the same model as the catalog's, or a clear error."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from hermes.catalog import find_model, read_config
from hermes.errors import InputError

LLAMA = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
DEEPSEEK = {
    "model_type": "deepseek_v3",
    "hidden_size": 7168,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "intermediate_size": 18432,
    "vocab_size": 129280,
    "max_position_embeddings": 163840,
    "n_routed_experts": 256,
    "num_experts_per_tok": 8,
    "n_shared_experts": 1,
    "moe_intermediate_size": 2048,
    "first_k_dense_replace": 3,
    "moe_layer_freq": 1,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "torch_dtype": "bfloat16",
    "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
}
GPT_OSS = {
    "model_type": "gpt_oss",
    "hidden_size": 2880,
    "num_hidden_layers": 36,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "intermediate_size": 2880,
    "vocab_size": 201088,
    "max_position_embeddings": 131072,
    "num_local_experts": 128,
    "num_experts_per_tok": 4,
    "sliding_window": 128,
    "layer_types": ["sliding_attention", "full_attention"] * 18,
    "quantization_config": {"quant_method": "mxfp4"},
}
LLAMA_4 = {
    "model_type": "llama4",
    "torch_dtype": "bfloat16",
    "text_config": {
        "model_type": "llama4_text",
        "hidden_size": 5120,
        "num_hidden_layers": 48,
        "num_attention_heads": 40,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": 8192,
        "intermediate_size_mlp": 16384,
        "vocab_size": 202048,
        "max_position_embeddings": 1048576,
        "num_local_experts": 128,
        "num_experts_per_tok": 1,
        "interleave_moe_layer_step": 2,
        "attention_chunk_size": 8192,
        "tie_word_embeddings": False,
    },
}


@pytest.fixture
def read(tmp_path):
    def write_and_read(config):
        folder = tmp_path / "mine"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config))
        return read_config(folder / "config.json")

    return write_and_read


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (LLAMA, "meta-llama/Llama-3.1-8B"),
        (DEEPSEEK, "deepseek-ai/DeepSeek-V3"),
        (GPT_OSS, "openai/gpt-oss-120b"),
        (LLAMA_4, "meta-llama/Llama-4-Maverick-17B-128E-Instruct"),
    ],
)
def test_a_file_gives_the_catalogs_model(read, config, name):
    assert replace(read(config), name=name, source="") == replace(find_model(name), source="")


def test_the_model_is_called_after_its_folder_and_found_by_either_path(read, tmp_path):
    model = read(LLAMA)
    assert model.name == "mine"
    assert find_model("mine/config.json", tmp_path) == model
    assert find_model("mine", tmp_path) == model


@pytest.mark.parametrize("key", ["num_experts", "n_routed_experts", "num_local_experts"])
def test_experts_are_counted_under_any_name(read, key):
    model = read({**LLAMA, "model_type": "qwen3_moe", key: 8, "num_experts_per_tok": 2})
    assert (model.num_experts, model.num_experts_per_tok) == (8, 2)


def test_missing_kv_heads_mean_one_for_each_head(read):
    config = {key: value for key, value in LLAMA.items() if key != "num_key_value_heads"}
    assert read(config).num_key_value_heads == 32


@pytest.mark.parametrize(
    ("extra", "window", "layers"),
    [
        ({"model_type": "mistral", "sliding_window": 4096}, 4096, 32),
        ({"model_type": "mistral", "sliding_window": None}, None, 0),
        ({"model_type": "qwen2", "sliding_window": 4096, "use_sliding_window": False}, None, 0),
        ({"model_type": "gemma2", "sliding_window": 4096}, 4096, 16),
        ({"model_type": "gemma3_text", "sliding_window": 512}, 512, 27),
    ],
)
def test_sliding_windows(read, extra, window, layers):
    model = read({**LLAMA, **extra})
    assert (model.sliding_window, model.num_sliding_layers) == (window, layers)


@pytest.mark.parametrize(
    ("extra", "dtype"),
    [
        ({"torch_dtype": "float16"}, "fp16"),
        ({"torch_dtype": None, "dtype": "bfloat16"}, "bf16"),
        ({"quantization_config": {"quant_method": "awq", "bits": 4}}, "int4"),
        ({"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4"}}, "nvfp4"),
        (
            {
                "quantization_config": {
                    "quant_method": "compressed-tensors",
                    "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "float"}}},
                }
            },
            "fp8",
        ),
    ],
)
def test_weights_are_stored_as_the_file_says(read, extra, dtype):
    assert read({**LLAMA, **extra}).weight_dtype == dtype


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "mamba"}, "model_type: unknown architecture 'mamba'"),
        ({"model_type": None}, "model_type: is missing"),
        ({"hidden_size": None}, "hidden_size: is missing"),
        ({"hidden_size": "4096"}, "hidden_size: expected a whole number of at least 1, got '4096'"),
        (
            {"num_hidden_layers": 0},
            "num_hidden_layers: expected a whole number of at least 1, got 0",
        ),
        ({"num_experts": 8}, "num_experts_per_tok"),
        ({"num_experts": 8, "num_experts_per_tok": 9}, "9 of 8 experts"),
        ({"torch_dtype": "posit8"}, "torch_dtype: unknown data type 'posit8'"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings: expected true or false"),
        ({"layer_types": ["linear_attention"] * 32}, r"layer_types\[0\]: .*'linear_attention'"),
        ({"layer_types": ["full_attention"]}, "layer_types: expected a list of 32 layers"),
        ({"quantization_config": {"quant_method": "aqlm"}}, "unknown quantization .*'aqlm'"),
        ({"quantization_config": {"quant_method": "gptq", "bits": [4]}}, "unknown quantization"),
    ],
)
def test_what_cannot_be_costed_is_an_error_naming_file_and_key(read, change, message):
    with pytest.raises(InputError, match=rf"config\.json: .*{message}"):
        read({**LLAMA, **change})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"config\.json:1: is no JSON"),
        ("[]", "expected a JSON object, got list"),
        ("", "is no JSON"),
    ],
)
def test_a_file_that_is_no_json_object(tmp_path, text, message):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_config(path)
