"""A Hugging Face `config.json` read as a model.

Spellings differ between families; here they become one. What the file leaves out takes the
default of its architecture (`data/architectures.csv`). An architecture or a kind of layer that
Hermes cannot cost is an error, never a guess.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from hermes.catalog.config import Config
from hermes.catalog.models import Model
from hermes.catalog.quantization import weight_dtype
from hermes.catalog.recurrence import is_recurrent, recurrent_layers
from hermes.catalog.tables import optional_float, read_table
from hermes.errors import InputError, did_you_mean

__all__ = ["read_config"]

_NUM_EXPERTS = ("num_experts", "n_routed_experts", "num_local_experts")
_MOE_STEP = (
    "decoder_sparse_step",
    "interleave_moe_layer_step",
    "moe_layer_freq",
    "expert_layer_period",
)
_ENCODERS = frozenset({"bert", "roberta", "xlm-roberta"})
_SLIDING = frozenset({"sliding_attention", "chunked_attention"})


def read_config(path: Path) -> Model:
    """Read the model that the `config.json` at *path* describes.

    Raises:
        InputError: The file is no JSON object, its architecture is not known, or a key is missing
            or senseless; says the file and the key.
    """
    try:
        return _model(_read_object(path), _name(path))
    except InputError as error:
        raise error.inside(file=str(path)) from None


def _name(path: Path) -> str:
    """Return the folder's name, or the file's where it is not simply called config."""
    return path.resolve().parent.name if path.stem == "config" else path.stem


def _read_object(path: Path) -> Mapping[str, Any]:
    """Return the JSON object of the file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError("is no UTF-8 text") from error
    except json.JSONDecodeError as error:
        raise InputError(f"is no JSON: {error.msg}", line=error.lineno) from error
    if not isinstance(found, dict):
        raise InputError(f"expected a JSON object, got {type(found).__name__}")
    return found


def _model(outer: Mapping[str, Any], name: str) -> Model:
    """Return the model of a whole file; a multimodal one keeps its language model inside."""
    text = outer.get("text_config")
    config = Config({**outer, **text} if isinstance(text, dict) else outer)
    family = _family(config)
    heads = config.integer("num_attention_heads")
    return Model(
        name=name,
        num_hidden_layers=config.integer("num_hidden_layers"),
        hidden_size=config.integer("hidden_size"),
        num_attention_heads=heads,
        num_key_value_heads=config.integer("num_key_value_heads", default=heads),
        head_dim=_head_dim(config, family),
        intermediate_size=config.integer("intermediate_size_mlp", "intermediate_size"),
        gated_mlp=family["gated_mlp"] == "true",
        vocab_size=config.integer("vocab_size"),
        max_position_embeddings=config.integer("max_position_embeddings", default=0) or None,
        tie_word_embeddings=config.boolean(
            "tie_word_embeddings", family["tie_word_embeddings"] == "true"
        ),
        weight_dtype=weight_dtype(outer, config.values),
        source=f"config.json of {name}",
        causal=family["model_type"] not in _ENCODERS,
        **recurrent_layers(config),
        **_window(config, family),
        **_experts(config, family),
        **_latent(config),
    )


def _family(config: Config) -> Mapping[str, str]:
    """Return the row of the architecture that the file names."""
    known = {row["model_type"]: row for row in read_table("architectures.csv")}
    model_type = config.values.get("model_type")
    if model_type is None:
        raise InputError("is missing; it names the architecture", "model_type")
    if model_type not in known:
        hint = did_you_mean(str(model_type), known)
        raise InputError(f"unknown architecture {model_type!r}{hint}", "model_type")
    return known[model_type]


def _head_dim(config: Config, family: Mapping[str, str]) -> int:
    """Return the width of a head: as given, by the architecture, or the hidden size's share."""
    if "qk_nope_head_dim" in config.values:
        return config.integer("qk_nope_head_dim") + config.integer("qk_rope_head_dim")
    share = config.integer("hidden_size") // config.integer("num_attention_heads")
    return config.integer("head_dim", default=int(optional_float(family["head_dim"]) or share))


class _Window(TypedDict):
    sliding_window: int | None
    num_sliding_layers: int
    chunked_attention: bool


def _window(config: Config, family: Mapping[str, str]) -> _Window:
    """Return the window and how many layers are bound to it."""
    layers = config.integer("num_hidden_layers")
    window = config.integer("sliding_window", "attention_chunk_size", default=0)
    if config.values.get("use_sliding_window") is False:
        window = 0
    every = int(family["full_attention_every"])
    sliding = layers - layers // every if every else layers
    if config.values.get("use_sliding_window") and "max_window_layers" in config.values:
        sliding = max(0, layers - config.integer("max_window_layers", least=0))
    types = config.values.get("layer_types")
    if is_recurrent(config):
        sliding = 0
    elif types is not None:
        sliding = _count_sliding(types, layers)
    return {
        "sliding_window": window if window and sliding else None,
        "num_sliding_layers": sliding if window else 0,
        "chunked_attention": bool(window and sliding and not config.values.get("sliding_window")),
    }


def _count_sliding(types: object, layers: int) -> int:
    """Return how many of the listed layers attend to a window; refuse what is no attention."""
    if not isinstance(types, list) or len(types) != layers:
        raise InputError(f"expected a list of {layers} layers, got {types!r}", "layer_types")
    for index, kind in enumerate(types):
        if kind not in _SLIDING and kind != "full_attention":
            allowed = ", ".join(sorted({"full_attention", *_SLIDING}))
            message = f"layers of type {kind!r} cannot be costed (allowed: {allowed})"
            raise InputError(message, f"layer_types[{index}]")
    return sum(kind in _SLIDING for kind in types)


class _Experts(TypedDict):
    num_experts: int
    num_experts_per_tok: int
    num_shared_experts: int
    moe_intermediate_size: int
    shared_intermediate_size: int
    first_k_dense_replace: int
    moe_layer_step: int


def _experts(config: Config, family: Mapping[str, str]) -> _Experts:
    """Return the mixture of experts, all zero for a dense model."""
    count = config.integer(*_NUM_EXPERTS, default=0, least=0)
    if count <= 1:
        return _Experts(
            num_experts=0,
            num_experts_per_tok=0,
            num_shared_experts=0,
            moe_intermediate_size=0,
            shared_intermediate_size=0,
            first_k_dense_replace=0,
            moe_layer_step=1,
        )
    if config.values.get("mlp_only_layers"):
        raise InputError("dense layers listed one by one cannot be costed", "mlp_only_layers")
    per_token = config.integer("num_experts_per_tok", "moe_k", "top_k_experts")
    if per_token > count:
        raise InputError(f"{per_token} of {count} experts", "num_experts_per_tok")
    width = config.integer("moe_intermediate_size", "intermediate_size")
    shared = config.integer("n_shared_experts", default=int(family["shared_experts"]), least=0)
    shared_width = config.integer(
        "shared_expert_intermediate_size", "shared_intermediate_size", default=width, least=0
    )
    return _Experts(
        num_experts=count,
        num_experts_per_tok=per_token,
        num_shared_experts=shared,
        moe_intermediate_size=width,
        shared_intermediate_size=shared * shared_width,
        first_k_dense_replace=config.integer("first_k_dense_replace", default=0, least=0),
        moe_layer_step=config.integer(*_MOE_STEP, default=1),
    )


class _Latent(TypedDict):
    q_lora_rank: int
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int


def _latent(config: Config) -> _Latent:
    """Return the ranks of latent attention, all zero without it."""
    if not config.integer("kv_lora_rank", default=0, least=0):
        return _Latent(
            q_lora_rank=0, kv_lora_rank=0, qk_nope_head_dim=0, qk_rope_head_dim=0, v_head_dim=0
        )
    return _Latent(
        q_lora_rank=config.integer("q_lora_rank", default=0, least=0),
        kv_lora_rank=config.integer("kv_lora_rank"),
        qk_nope_head_dim=config.integer("qk_nope_head_dim"),
        qk_rope_head_dim=config.integer("qk_rope_head_dim"),
        v_head_dim=config.integer("v_head_dim"),
    )
