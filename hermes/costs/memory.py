"""Memory of one device of a replica: weights, KV cache, and how many KV blocks fit.

Tensor parallelism splits heads, feed-forward widths and the vocabulary; KV heads are copied where
there are fewer than devices, and the latent of latent attention lies on every device whole.
Not modelled: norms and biases (below 0.1 % of the weights).
"""

from __future__ import annotations

from hermes.catalog import DTYPE_BYTES, Device, Model, dtype_name
from hermes.costs.kv_groups import KvGroups
from hermes.errors import InfeasibleError

__all__ = [
    "allowed_tensor_parallel_sizes",
    "check_tensor_parallel_size",
    "kv_bytes_per_token",
    "kv_bytes_per_token_per_device",
    "num_gpu_blocks",
    "resolve_dtype",
    "resolve_kv_dtype",
    "weight_bytes_per_device",
]

_HALF = 2.0
_SIXTEEN_BIT = frozenset({"bf16", "fp16", "fp32"})
_EXPERTS_ONLY = frozenset({"mxfp4"})

_ENGINE_BYTES = 1.24e9
"""Activations, CUDA graphs and context: what vLLM 0.19 kept beside weights and KV cache when it
served Llama-3.1-8B on a GeForce RTX 4090 (2,588 blocks of 16 at 0.9 of 25,250,627,584 bytes)."""
_COLLECTIVE_BYTES = 0.41e9
"""NCCL's buffers on a device of a group (`nccl_mem` in aiconfigurator's systems/h100_sxm.yaml)."""


def resolve_dtype(model: Model, dtype: str) -> str:
    """Return how the weights are stored: as asked, or as the checkpoint is with `auto`.

    A 16-bit type is the type of activations for a quantized checkpoint, as in vLLM: its weights
    stay as they are.
    """
    if dtype == "auto":
        return model.weight_dtype
    name = dtype_name(dtype, "dtype")
    quantized = model.weight_dtype not in _SIXTEEN_BIT
    return model.weight_dtype if quantized and name in _SIXTEEN_BIT else name


def resolve_kv_dtype(model: Model, kv_dtype: str) -> str:
    """Return how keys and values are cached: with `auto` as the activations, in 16 bits."""
    if kv_dtype != "auto":
        return dtype_name(kv_dtype, "kv_cache_dtype")
    return model.weight_dtype if model.weight_dtype in _SIXTEEN_BIT else "bf16"


def allowed_tensor_parallel_sizes(model: Model) -> tuple[int, ...]:
    """Return the sizes that divide heads, KV heads (or are divided by them) and widths."""
    heads, kv_heads = model.num_attention_heads, model.num_key_value_heads
    widths = [model.intermediate_size] if model.num_moe_layers < model.num_hidden_layers else []
    if model.is_moe:
        widths.append(model.moe_intermediate_size)
    return tuple(
        size
        for size in range(1, heads + 1)
        if heads % size == 0
        and (model.is_mla or kv_heads % size == 0 or size % kv_heads == 0)
        and all(width % size == 0 for width in widths)
    )


def check_tensor_parallel_size(model: Model, tensor_parallel_size: int) -> None:
    """Refuse a size that does not divide the model.

    Raises:
        InfeasibleError: Names the sizes that do.
    """
    allowed = allowed_tensor_parallel_sizes(model)
    if tensor_parallel_size not in allowed:
        shown = ", ".join(map(str, allowed))
        raise InfeasibleError(
            f"{tensor_parallel_size} does not divide {model.name} with its"
            f" {model.num_attention_heads} attention heads (allowed: {shown})",
            "tensor_parallel_size",
        )


def weight_bytes_per_device(
    model: Model, dtype: str, tensor_parallel_size: int, data_parallel_size: int = 1
) -> int:
    """Return the bytes of weights that one device of the group holds.

    Groups that run in lock-step (`data_parallel_size`) spread the routed experts over all of them.
    """
    layers = layer_weight_bytes(model, dtype, tensor_parallel_size)
    experts = expert_weight_bytes(model, dtype, tensor_parallel_size * data_parallel_size)
    embeddings = head_weight_bytes(model, tensor_parallel_size)
    return round(layers + experts + embeddings * (1 if model.tie_word_embeddings else 2))


def layer_weight_bytes(model: Model, dtype: str, tensor_parallel_size: int) -> float:
    """Return one device's bytes of what every step reads: all layers but their routed experts."""
    name = resolve_dtype(model, dtype)
    size = _HALF if name in _EXPERTS_ONLY else DTYPE_BYTES[name]
    split = 1 if model.is_mla else min(tensor_parallel_size, model.num_key_value_heads)
    attention = (
        model.query_parameters / tensor_parallel_size + model.key_value_parameters / split
    ) * model.num_attention_layers
    attention += model.num_linear_layers * model.linear_parameters / tensor_parallel_size
    width = model.mlp_matrices * model.hidden_size / tensor_parallel_size
    dense = (model.num_hidden_layers - model.num_moe_layers) * width * model.intermediate_size
    shared = model.num_moe_layers * width * model.shared_intermediate_size
    router = model.num_moe_layers * model.hidden_size * model.num_experts
    return (attention + dense + shared) * size + router * _HALF


def expert_weight_bytes(model: Model, dtype: str, tensor_parallel_size: int) -> float:
    """Return one device's bytes of all routed experts of all layers."""
    size = DTYPE_BYTES[resolve_dtype(model, dtype)]
    experts = model.num_moe_layers * model.num_experts * model.expert_parameters
    return experts * size / tensor_parallel_size


def head_weight_bytes(model: Model, tensor_parallel_size: int) -> float:
    """Return one device's bytes of the LM head, which engines leave in 16 bits."""
    return model.embedding_parameters * _HALF / tensor_parallel_size


def kv_bytes_per_token(model: Model, kv_dtype: str) -> int:
    """Return the bytes cached for one token: all layers, each KV head once."""
    return round(model.kv_elements_per_token * DTYPE_BYTES[resolve_kv_dtype(model, kv_dtype)])


def kv_bytes_per_token_per_device(model: Model, kv_dtype: str, tensor_parallel_size: int) -> int:
    """Return the bytes of one token that one device of the group caches."""
    whole = kv_bytes_per_token(model, kv_dtype)
    if model.is_mla:
        return whole
    return whole // min(tensor_parallel_size, model.num_key_value_heads)


def num_gpu_blocks(  # noqa: PLR0913, PLR0917 - what decides the size of a cache
    device: Device,
    model: Model,
    dtype: str,
    kv_dtype: str,
    tensor_parallel_size: int,
    block_size: int,
    gpu_memory_utilization: float,
    pipeline_parallel_size: int = 1,
    data_parallel_size: int = 1,
    groups: KvGroups | None = None,
) -> int:
    """Return how many KV blocks fit beside the weights on each device of a replica.

    Pipeline stages hold equal shares of the layers, and of the weights. A block holds the tokens
    of all layers, or those of one of the groups of layers where there are such.

    Raises:
        InfeasibleError: The size does not divide the model, or not one block fits; says what is
            needed, what there is, and the smallest group that fits.
    """
    check_tensor_parallel_size(model, tensor_parallel_size)
    available = device.memory_bytes * gpu_memory_utilization
    stages = pipeline_parallel_size
    share = groups.layers / model.num_attention_layers if groups else 1

    def block_bytes(size: int) -> float:
        token_bytes = kv_bytes_per_token_per_device(model, kv_dtype, size)
        return token_bytes * share * block_size / stages

    block = block_bytes(tensor_parallel_size)
    free = available - _occupied_bytes(
        model, dtype, tensor_parallel_size, stages, data_parallel_size
    )
    if free >= block:
        return int(free // block)
    fits = [
        size
        for size in allowed_tensor_parallel_sizes(model)
        if available - _occupied_bytes(model, dtype, size, stages, data_parallel_size)
        >= block_bytes(size)
    ]
    remedy = f"the smallest that fits is {fits[0]}" if fits else "no allowed size fits"
    needed = _occupied_bytes(model, dtype, tensor_parallel_size, stages, data_parallel_size) + block
    raise InfeasibleError(
        f"{model.name} in {resolve_dtype(model, dtype)} needs {needed / 1e9:.1f} GB of each"
        f" {device.name} at {tensor_parallel_size}, which offers {available / 1e9:.1f} GB"
        f" ({gpu_memory_utilization:g} of {device.memory_bytes / 1e9:.1f} GB usable); {remedy}",
        "tensor_parallel_size",
    )


def _occupied_bytes(
    model: Model, dtype: str, tensor_parallel_size: int, stages: int, groups: int
) -> float:
    """Return what one device holds besides the KV cache."""
    collectives = _COLLECTIVE_BYTES if tensor_parallel_size * stages * groups > 1 else 0.0
    weights = weight_bytes_per_device(model, dtype, tensor_parallel_size, groups) / stages
    return weights + _ENGINE_BYTES + collectives
