"""Element-wise passes: a norm with its residual sum, a gated activation, rotary embedding.

Written with PyTorch's operators, not fused by hand: an engine's own kernels do better.
"""

from __future__ import annotations

from typing import Any

from hermes.profile.bench import Kernel
from hermes.profile.operators.operands import Operands
from hermes.profile.point import Point

__all__ = ["activate", "add_norm", "elementwise_kernels", "rotate"]

_ROPE_DIM = 64


def elementwise_kernels(point: Point, operands: Operands) -> list[Kernel]:
    """Return one pass over the tokens; they come from the cache, as in a step."""
    tokens, width = point["tokens"], point["width"]
    if point.operator == "norm":
        hidden, residual = operands.random(tokens, width), operands.random(tokens, width)
        weight = operands.random(width)
        return [Kernel("torch add, rms_norm", lambda: add_norm(hidden, residual, weight))]
    if point.operator == "activation":
        both = operands.random(tokens, 2 * width)
        return [Kernel("torch silu, mul", lambda: activate(both))]
    dim = next(each for each in (128, _ROPE_DIM, 32, 16, 8, 4, 2, 1) if width % each == 0)
    heads = operands.random(tokens, width // dim, dim)
    turns = operands.random(2, tokens, 1, dim)
    return [Kernel("torch rope", lambda: rotate(heads, turns[0], turns[1]))]


def add_norm(hidden: Any, residual: Any, weight: Any) -> tuple[Any, Any]:
    """Return the normalised sum and the sum."""
    from torch.nn.functional import rms_norm

    residual = hidden + residual
    return rms_norm(residual, (residual.shape[-1],), weight), residual


def activate(both: Any) -> Any:
    """Return the gated activation of the two halves."""
    from torch.nn.functional import silu

    gate, up = both.chunk(2, dim=-1)
    return silu(gate) * up


def rotate(heads: Any, cosine: Any, sine: Any) -> Any:
    """Return heads (tokens, heads, dim) turned by the angles of their positions."""
    import torch

    low, high = heads.chunk(2, dim=-1)
    return heads * cosine + torch.cat((-high, low), dim=-1) * sine
