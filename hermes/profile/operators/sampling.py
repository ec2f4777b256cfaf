"""Where a step begins and ends: embedding look-up, and the choice of the next token."""

from __future__ import annotations

from hermes.profile.bench import Kernel
from hermes.profile.operators.operands import Operands, rotating
from hermes.profile.point import Point

__all__ = ["sampling_kernels"]

_VOCABULARY = 32768


def sampling_kernels(point: Point, operands: Operands) -> list[Kernel]:
    """Return greedy sampling over logits, or the look-up of rows of a table."""
    torch = operands.torch
    if point.operator == "sampling":
        logits = operands.random(point["tokens"], point["n"])
        return [Kernel("torch argmax", lambda: torch.argmax(logits, dim=-1))]
    generator = torch.Generator(device=operands.device).manual_seed(1)
    shape = (point["tokens"],)
    identifiers = [
        torch.randint(_VOCABULARY, shape, device=operands.device, generator=generator)
        for _ in range(8)
    ]
    rows = operands.random(_VOCABULARY, point["width"])
    return [Kernel("torch embedding", rotating(lambda each: rows[each], identifiers))]
