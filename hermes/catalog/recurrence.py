"""Layers that keep a state in place of a cache: gated delta nets (Qwen3-Next), Mamba (Jamba)."""

from __future__ import annotations

from typing import TypedDict

from hermes.catalog.config import Config
from hermes.errors import InputError

__all__ = ["RecurrentLayers", "is_recurrent", "recurrent_layers"]

_LAYERS = frozenset({"linear_attention", "full_attention"})


class RecurrentLayers(TypedDict):
    """The fields of `Model` that describe them."""

    gated_attention: bool
    num_linear_layers: int
    linear_parameters: int
    linear_output_size: int
    linear_state_elements: int


def is_recurrent(config: Config) -> bool:
    """Return whether some layers of the model are recurrent."""
    return config.values.get("model_type") in {"qwen3_next", "jamba"}


def recurrent_layers(config: Config) -> RecurrentLayers:
    """Return the recurrent layers, all zero without them."""
    kind = config.values.get("model_type")
    if kind == "qwen3_next":
        return _delta_net(config)
    if kind == "jamba":
        return _mamba(config)
    return RecurrentLayers(
        gated_attention=False,
        num_linear_layers=0,
        linear_parameters=0,
        linear_output_size=0,
        linear_state_elements=0,
    )


def _delta_net(config: Config) -> RecurrentLayers:
    """Read a gated delta net: queries, keys, values, a gate, and two scalars a head."""
    hidden, layers = config.integer("hidden_size"), config.integer("num_hidden_layers")
    values = config.integer("linear_num_value_heads")
    key_dim, value_dim = (config.integer(f"linear_{x}_head_dim") for x in ("key", "value"))
    keys_wide = config.integer("linear_num_key_heads") * key_dim
    values_wide = values * value_dim
    convolved = (2 * keys_wide + values_wide) * (config.integer("linear_conv_kernel_dim") - 1)
    return RecurrentLayers(
        gated_attention=True,
        num_linear_layers=_linear_count(config, layers),
        linear_parameters=hidden * (2 * keys_wide + 2 * values_wide + 2 * values)
        + values_wide * hidden,
        linear_output_size=values_wide,
        linear_state_elements=values * key_dim * value_dim + convolved,
    )


def _linear_count(config: Config, layers: int) -> int:
    types = config.values.get("layer_types")
    if types is None:
        return layers - layers // config.integer("full_attention_interval", default=4)
    if not isinstance(types, list) or len(types) != layers or not _LAYERS.issuperset(types):
        allowed = ", ".join(sorted(_LAYERS))
        raise InputError(f"expected a list of {layers} of {allowed}", "layer_types")
    return types.count("linear_attention")


def _mamba(config: Config) -> RecurrentLayers:
    """Read Mamba: a wide projection, a scan with its own projections, and the way back."""
    hidden, layers = config.integer("hidden_size"), config.integer("num_hidden_layers")
    inner = hidden * config.integer("mamba_expand", default=2)
    state = config.integer("mamba_d_state", default=16)
    rank = config.integer("mamba_dt_rank", default=-(-hidden // 16))
    period = config.integer("attn_layer_period")
    offset = config.integer("attn_layer_offset", default=0, least=0)
    attending = len(range(offset, layers, period))
    scan = inner * (rank + 2 * state) + rank * inner
    return RecurrentLayers(
        gated_attention=False,
        num_linear_layers=layers - attending,
        linear_parameters=2 * hidden * inner + scan + inner * hidden,
        linear_output_size=inner,
        linear_state_elements=inner * (state + config.integer("mamba_d_conv", default=4) - 1),
    )
