"""Attention of prompts and decodes: every kernel that the device has, the fastest is kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from hermes.profile.bench import Kernel
from hermes.profile.operators.operands import Operands
from hermes.profile.point import Point

__all__ = ["attention_kernels", "backends", "decode_attention", "prefill_attention"]


def attention_kernels(point: Point, operands: Operands) -> list[Kernel]:
    """Return attention over keys and values that are others every call."""
    heads, kv_heads, dim = (point[name] for name in ("heads", "kv_heads", "head_dim"))
    batch, length = point["batch"], point["length"]
    decode = point.operator == "decode"
    prefix = 0 if decode else point["prefix"]
    queries = operands.random(batch, heads, 1 if decode else length, dim)
    caches = operands.cold(2, batch, kv_heads, prefix + length, dim)
    found = []
    for name, inside in backends(operands.device):
        attend = decode_attention if decode else prefill_attention(operands, length, prefix)
        call = _call(attend, queries, caches, inside)
        found.append(Kernel(f"torch attention, {name}", call))
    return found


def _call(
    attend: Callable[[Any, Any, Any], Any],
    queries: Any,
    caches: list[Any],
    inside: Callable[[], Any],
) -> Callable[[], object]:
    turn = 0

    def call() -> object:
        nonlocal turn
        turn = (turn + 1) % len(caches)
        keys, values = caches[turn]
        with inside():
            return attend(queries, keys, values)

    return call


def backends(device: str) -> list[tuple[str, Callable[[], Any]]]:
    """Return the kernels of scaled dot product attention, by name."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    kinds = ["FLASH_ATTENTION", "MATH"]
    if device.startswith("cuda"):
        kinds = ["FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION"]
    found: list[tuple[str, Callable[[], Any]]] = []
    for kind in kinds:
        backend = getattr(SDPBackend, kind)
        name = kind.removesuffix("_ATTENTION").lower()
        found.append((name, partial(sdpa_kernel, backend)))
    return found


def decode_attention(queries: Any, keys: Any, values: Any, mask: Any = None) -> Any:
    """Attend with one query of each sequence; the heads of a KV head share one read of its keys."""
    from torch.nn.functional import scaled_dot_product_attention

    batch, heads, _, dim = queries.shape
    kv_heads = keys.shape[1]
    grouped = queries.reshape(batch, kv_heads, heads // kv_heads, dim)
    found = scaled_dot_product_attention(grouped, keys, values, attn_mask=mask)
    return found.reshape(batch, heads, 1, dim)


def prefill_attention(
    operands: Operands, length: int, prefix: int
) -> Callable[[Any, Any, Any], Any]:
    """Return causal attention of *length* queries that stand after *prefix* keys."""
    from torch.nn.functional import scaled_dot_product_attention

    bias: Any = None
    if prefix and operands.device.startswith("cuda"):
        from torch.nn.attention.bias import causal_lower_right  # slow to import

        bias = causal_lower_right(length, prefix + length)
    elif prefix:
        every = operands.torch.ones(length, prefix + length, dtype=operands.torch.bool)
        bias = every.tril(diagonal=prefix)

    def attend(queries: Any, keys: Any, values: Any) -> Any:
        grouped = queries.shape[1] != keys.shape[1]
        return scaled_dot_product_attention(
            queries, keys, values, attn_mask=bias, is_causal=bias is None, enable_gqa=grouped
        )

    return attend
