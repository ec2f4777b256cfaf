"""Points of the operators that a step is made of: products with weights, attention, experts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hermes.catalog import DTYPE_BYTES, Model
from hermes.costs.chip import touched_experts
from hermes.costs.memory import allowed_tensor_parallel_sizes
from hermes.costs.operators import PassOperators, pass_operators
from hermes.profile.grid import powers, product
from hermes.profile.point import Point, point
from hermes.profile.reach import Reach

__all__ = ["attention_points", "decode_point", "expert_points", "linear_points", "prefill_point"]

_BYTES = 2.0
_ROUTINGS = ("experts", "experts_uniform")
_GATED = 3
"""Matrices of an expert that the kernel knows."""
_GENERAL = {"gpu": (1024, 4096, 16384), "cpu": (256, 1024)}
"""Sizes of weights that no model need have."""


def each_pass(models: Sequence[Model], reach: Reach) -> list[PassOperators]:
    """Return the operators of every decoder on every number of devices, first sizes first."""
    return [
        pass_operators(model, "bf16", "bf16", size)
        for size in reach.tensor_parallel_sizes
        for model in models
        if model.causal and size in allowed_tensor_parallel_sizes(model)
    ]


def linear_points(models: Sequence[Model], reach: Reach) -> list[Point]:
    """Return products of tokens with the weights of the models, then with a general grid."""
    shapes = [
        (round(each.n), round(each.k))
        for operators in each_pass(models, reach)
        for each in (*operators.linears, operators.head)
    ]
    general = _GENERAL[reach.kind]
    shapes += [(n, k) for n in general for k in general]
    groups = [(n, k, dtype) for n, k in dict.fromkeys(shapes) for dtype in reach.dtypes]
    return [
        _linear(n, k, tokens, dtype)
        for (n, k, dtype), (tokens,) in product(groups, powers(1, reach.tokens))
        if dtype != "fp8" or (n % 16 == 0 and k % 16 == 0)
    ]


def _linear(n: int, k: int, tokens: int, dtype: str) -> Point:
    weights = n * k * DTYPE_BYTES[dtype]
    return point("linear", dtype, 2.0 * tokens * n * k, weights, tokens=tokens, n=n, k=k)


def attention_points(models: Sequence[Model], reach: Reach) -> list[Point]:
    """Return prompts and decodes over batch, context and the head layouts of the models."""
    layouts = list(
        dict.fromkeys(
            (round(each.heads), round(each.kv_heads), each.key_dim)
            for operators in each_pass(models, reach)
            for each in operators.attention
            if not each.latent_rank
        )
    )
    lengths = powers(16, reach.length)
    decodes = [
        decode_point(heads, batch, length)
        for heads, (batch, length) in product(layouts, powers(1, reach.sequences), lengths)
    ]
    prompts = [
        prefill_point(heads, tokens, length)
        for heads, (length, tokens) in product(
            layouts, powers(32, reach.length), powers(16, reach.tokens)
        )
    ]
    both = []
    for index in range(max(len(decodes), len(prompts))):
        both += decodes[index : index + 1] + prompts[index : index + 1]
    return both


def decode_point(heads: tuple[int, int, int], batch: int, length: int) -> Point:
    """Return one query of each of *batch* sequences over *length* keys."""
    count, kv_heads, dim = heads
    keys = batch * length
    cached = 2.0 * keys * kv_heads * dim * _BYTES
    shape: dict[str, Any] = {"heads": count, "kv_heads": kv_heads, "head_dim": dim}
    return point(
        "decode", "bf16", 4.0 * keys * count * dim, cached, batch=batch, length=length, **shape
    )


def prefill_point(heads: tuple[int, int, int], tokens: int, length: int) -> Point:
    """Return causal prompts of *tokens* in all whose queries see *length* / 2 keys on average.

    Fewer tokens than *length* are one chunk after a prefix; more are whole prompts of it.
    """
    count, kv_heads, dim = heads
    chunk, batch = min(tokens, length), max(1, tokens // length)
    prefix = (length - chunk) // 2
    pairs = batch * (chunk * prefix + chunk * (chunk + 1) / 2)
    cached = 2.0 * batch * (chunk + prefix) * kv_heads * dim * _BYTES
    shape: dict[str, Any] = {"heads": count, "kv_heads": kv_heads, "head_dim": dim}
    sizes: dict[str, Any] = {"batch": batch, "length": chunk, "prefix": prefix}
    return point("prefill", "bf16", 4.0 * pairs * count * dim, cached, **sizes, **shape)


def expert_points(models: Sequence[Model], reach: Reach) -> list[Point]:
    """Return routed experts of the models, skewed and balanced."""
    shapes: list[tuple[int, ...]] = []
    for operators in each_pass(models, reach):
        if operators.experts is not None:
            shape = operators.experts.shape
            sizes = (shape.hidden, shape.width, shape.top_k, shape.experts, shape.matrices)
            shapes.append(tuple(round(each) for each in sizes))
    if not shapes and reach.kind == "cpu":
        shapes.append((256, 256, 2, 8, 3))  # so that the kernel is known
    groups = [(name, shape) for shape in dict.fromkeys(shapes) for name in _ROUTINGS]
    return [
        _expert(name, shape, tokens)
        for (name, shape), (tokens,) in product(groups, powers(1, reach.tokens))
        if shape[-1] == _GATED
    ]


def _expert(operator: str, shape: tuple[int, ...], tokens: int) -> Point:
    hidden, width, top_k, experts, matrices = shape
    weights = float(matrices * hidden * width)
    fewest = top_k if operator == "experts" else touched_experts(experts, top_k, tokens) * 0.5
    return point(
        operator,
        "bf16",
        2.0 * tokens * top_k * weights,
        min(fewest, experts) * weights * _BYTES,
        tokens=tokens,
        hidden=hidden,
        width=width,
        top_k=top_k,
        experts=experts,
        groups=1,
    )
