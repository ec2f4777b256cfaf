"""The work of one forward pass on one device of a replica, as seconds at datasheet peaks.

A pass is linear in few aggregates of its batch, so a model on a group of devices compiles to about
a dozen coefficients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, TypedDict

from hermes.catalog import Device, Model
from hermes.catalog.dtypes import WEIGHT_ONLY_DTYPES
from hermes.costs.memory import (
    check_tensor_parallel_size,
    expert_weight_bytes,
    head_weight_bytes,
    kv_bytes_per_token_per_device,
    layer_weight_bytes,
    resolve_dtype,
)
from hermes.errors import InfeasibleError

__all__ = ["Terms", "Work", "compile_work", "compute_dtype"]

_BYTES = 2.0  # of an activation
_LOGIT_BYTES = 4.0
_ALL = -700.0  # logarithm of practically never
_PREFERENCE = {
    "fp32": ("fp32",),
    "bf16": ("bf16", "fp16", "fp32"),
    "fp16": ("fp16", "bf16", "fp32"),
    "fp8": ("fp8", "bf16", "fp16"),
    "int8": ("int8", "bf16", "fp16"),
    "fp4": ("fp4", "bf16", "fp16"),
    "nvfp4": ("fp4", "bf16", "fp16"),
}


class Terms(NamedTuple):
    """Seconds of one pass at datasheet peaks, part by part."""

    compute: float
    memory: float
    allreduce: float
    elementwise: float


@dataclass(frozen=True, slots=True)
class Work:
    """Seconds at datasheet peaks that one unit of each aggregate adds."""

    layers: int
    allreduces: int
    token_compute: float
    row_compute: float
    """Of a sequence that samples: its LM head."""
    pair_compute: float
    """Of a query-key pair, in the layers that attend fully."""
    expand_compute: float
    """Of a cached token that latent attention expands before it attends the usual way."""
    wide_pair_compute: float
    """Of a pair where latent attention works on the latent itself; 0 without it."""
    short_pair_compute: float
    """Of a pair within the window, in the layers that have one."""
    window: int
    fixed_memory: float
    """Of the weights that every pass reads."""
    head_memory: float
    """Of the LM head, read when anything samples."""
    experts_memory: float
    """Of all routed experts."""
    expert_decay: float
    """Logarithm of the chance that one token leaves an expert alone."""
    token_memory: float
    row_memory: float
    kv_memory: float
    short_kv_memory: float
    token_allreduce: float
    token_elementwise: float

    def terms(
        self, tokens: int, logit_rows: int, attention_pairs: float, kv_tokens_read: float
    ) -> Terms:
        """Return the four parts of one pass; the arguments are those of `Roofline.seconds`."""
        reach = self.window * tokens
        pairs = self.pair_compute * attention_pairs + self.expand_compute * kv_tokens_read
        if self.wide_pair_compute:
            pairs = min(pairs, self.wide_pair_compute * attention_pairs)
        return Terms(
            compute=self.token_compute * tokens
            + self.row_compute * logit_rows
            + pairs
            + self.short_pair_compute * min(attention_pairs, reach),
            memory=self.fixed_memory
            + (self.head_memory if logit_rows else 0.0)
            - self.experts_memory * math.expm1(self.expert_decay * tokens)
            + self.token_memory * tokens
            + self.row_memory * logit_rows
            + self.kv_memory * kv_tokens_read
            + self.short_kv_memory * min(kv_tokens_read, reach),
            allreduce=self.token_allreduce * tokens,
            elementwise=self.token_elementwise * tokens,
        )


def compute_dtype(device: Device, dtype: str) -> str:
    """Return the data type in which *device* multiplies weights stored as *dtype*.

    Weights in a type that the device cannot multiply are unpacked to 16 bits, as engines do.

    Raises:
        InfeasibleError: The device has no peak for any type that would serve.
    """
    wanted = "bf16" if dtype in WEIGHT_ONLY_DTYPES else dtype
    for candidate in _PREFERENCE[wanted]:
        if candidate in device.peak_tflops:
            return candidate
    known = ", ".join(sorted(device.peak_tflops))
    raise InfeasibleError(f"{device.name} cannot multiply {dtype} (allowed: {known})", "dtype")


def compile_work(
    model: Model, device: Device, dtype: str, kv_dtype: str, tensor_parallel_size: int
) -> Work:
    """Return the work of *model* on each device of a group.

    Raises:
        InfeasibleError: The group does not divide the model, or the device has no peak for the
            data type.
    """
    check_tensor_parallel_size(model, tensor_parallel_size)
    allreduces = 0 if tensor_parallel_size == 1 else 2 * model.num_hidden_layers + 1
    elementwise = _elementwise_bytes(model, tensor_parallel_size)
    return Work(
        layers=model.num_hidden_layers,
        allreduces=allreduces,
        window=model.sliding_window or 0,
        token_allreduce=allreduces
        * model.hidden_size
        * _BYTES
        * _allreduce_seconds_per_byte(device, tensor_parallel_size),
        token_elementwise=elementwise / (device.memory_bandwidth_gb_per_s * 1e9),
        **_compute(model, device, dtype, tensor_parallel_size),
        **_memory(model, device, dtype, kv_dtype, tensor_parallel_size),
    )


class _Compute(TypedDict):
    token_compute: float
    row_compute: float
    pair_compute: float
    expand_compute: float
    wide_pair_compute: float
    short_pair_compute: float


def _compute(model: Model, device: Device, dtype: str, size: int) -> _Compute:
    """Return the arithmetic: linear layers in the weights' type, the rest in 16 bits."""
    stored = resolve_dtype(model, dtype)
    linear = 1 / (device.peak_tflops[compute_dtype(device, stored)] * 1e12 * size)
    half = 1 / (device.peak_tflops[compute_dtype(device, _sixteen_bit(stored))] * 1e12 * size)
    embeddings = model.embedding_parameters * (1 if model.tie_word_embeddings else 2)
    heads, layers = model.num_attention_heads, model.num_hidden_layers
    full = layers - model.num_sliding_layers
    key = model.qk_nope_head_dim + model.qk_rope_head_dim if model.is_mla else model.head_dim
    value = model.v_head_dim if model.is_mla else model.head_dim
    wide = 2 * model.kv_lora_rank + model.qk_rope_head_dim if model.is_mla else 0
    expand = model.kv_lora_rank * (model.qk_nope_head_dim + model.v_head_dim)
    return _Compute(
        token_compute=2 * (model.active_parameters - embeddings) * linear,
        row_compute=2 * model.embedding_parameters * half,
        pair_compute=2 * heads * (key + value) * full * half,
        expand_compute=2 * heads * expand * full * half,
        wide_pair_compute=2 * heads * wide * full * half,
        short_pair_compute=2 * heads * (key + value) * model.num_sliding_layers * half,
    )


class _Memory(TypedDict):
    fixed_memory: float
    head_memory: float
    experts_memory: float
    expert_decay: float
    token_memory: float
    row_memory: float
    kv_memory: float
    short_kv_memory: float


def _memory(model: Model, device: Device, dtype: str, kv_dtype: str, size: int) -> _Memory:
    """Return the traffic of weights, of the cache, and of what linear layers read and write."""
    byte = 1 / (device.memory_bandwidth_gb_per_s * 1e9)
    kv = kv_bytes_per_token_per_device(model, kv_dtype, size)
    sliding = model.num_sliding_layers / model.num_hidden_layers
    touched = model.num_experts_per_tok / model.num_experts if model.is_moe else 0.0
    return _Memory(
        fixed_memory=layer_weight_bytes(model, dtype, size) * byte,
        head_memory=head_weight_bytes(model, size) * byte,
        experts_memory=expert_weight_bytes(model, dtype, size) * byte,
        expert_decay=math.log1p(-touched) if touched < 1 else _ALL,
        token_memory=(_linear_bytes(model, size) + kv) * byte,
        row_memory=model.vocab_size / size * _LOGIT_BYTES * byte,
        kv_memory=kv * (1 - sliding) * byte,
        short_kv_memory=kv * sliding * byte,
    )


def _sixteen_bit(stored: str) -> str:
    """Return the type of attention and LM head beside weights stored as *stored*."""
    return stored if stored in {"bf16", "fp16", "fp32"} else "bf16"


def _linear_bytes(model: Model, size: int) -> float:
    """Return the bytes that one token's linear layers read and write on one device."""
    heads = model.num_attention_heads * model.head_dim / size
    attention = 2 * model.hidden_size + 2 * heads
    return _BYTES * (attention + 2 * model.hidden_size) * model.num_hidden_layers + (
        _BYTES * model.mlp_matrices * _widths(model) / size
    )


def _elementwise_bytes(model: Model, size: int) -> float:
    """Return the bytes of one token's norms, residual sums and activation on one device."""
    norms = 8 * model.hidden_size * model.num_hidden_layers
    return _BYTES * (norms + model.mlp_matrices * _widths(model) / size)


def _widths(model: Model) -> int:
    """Return the feed-forward widths that one token passes, summed over the layers."""
    dense = (model.num_hidden_layers - model.num_moe_layers) * model.intermediate_size
    expert = (
        model.num_experts_per_tok * model.moe_intermediate_size + model.shared_intermediate_size
    )
    return dense + model.num_moe_layers * expert


def _allreduce_seconds_per_byte(device: Device, size: int) -> float:
    """Return the all-reduce time of a byte that every device of the group holds.

    Over scale-up links that is a ring's. Beyond them the group shares the host's bridge, and the
    more devices the more of what a ring moves at once takes turns: measured NCCL bandwidth of a
    PCIe-only L40S node falls with the square of the group (19, 5.2 and 1.5 GB/s at 2, 4 and 8).
    """
    ring = 2 * (size - 1) / size
    if size == 1:
        return 0.0
    if device.link_bandwidth_gb_per_s and size <= device.link_domain:
        return ring / (device.link_bandwidth_gb_per_s * 1e9)
    if not device.host_bandwidth_gb_per_s:
        message = f"{device.name} has neither links nor a known host bandwidth (allowed: 1)"
        raise InfeasibleError(message, "tensor_parallel_size")
    return ring * (size / 2) ** 2 / (device.host_bandwidth_gb_per_s * 1e9)
