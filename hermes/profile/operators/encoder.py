"""Whole passes of an encoder with random weights: every token attends to every other."""

from __future__ import annotations

from typing import Any

from hermes.profile.bench import Kernel
from hermes.profile.operators.operands import Operands
from hermes.profile.point import Point

__all__ = ["encoder_kernels"]


def encoder_kernels(point: Point, operands: Operands) -> list[Kernel]:
    """Return one pass over a batch of texts without padding."""
    functional = operands.torch.nn.functional
    batch, length, hidden, width = (point[each] for each in ("batch", "length", "hidden", "width"))
    heads = point["heads"]
    shapes = {"qkv": (3 * hidden, hidden), "out": (hidden, hidden)}
    shapes |= {"up": (width, hidden), "down": (hidden, width)}
    key = ("encoder", point["layers"], hidden, width)
    layers: list[dict[str, Any]] = operands.kept(
        key,
        lambda: [
            {name: operands.random(*shape) / hidden**0.5 for name, shape in shapes.items()}
            for _ in range(point["layers"])
        ],
    )
    texts = operands.random(batch, length, hidden)

    def forward() -> Any:
        states = texts
        for layer in layers:
            mixed = functional.linear(states, layer["qkv"])
            split = mixed.view(batch, length, 3, heads, hidden // heads).permute(2, 0, 3, 1, 4)
            attended = functional.scaled_dot_product_attention(*split)
            joined = attended.transpose(1, 2).reshape(batch, length, hidden)
            states = functional.layer_norm(
                states + functional.linear(joined, layer["out"]), (hidden,)
            )
            inner = functional.gelu(functional.linear(states, layer["up"]))
            states = functional.layer_norm(
                states + functional.linear(inner, layer["down"]), (hidden,)
            )
        return states

    return [Kernel("torch encoder", forward)]
