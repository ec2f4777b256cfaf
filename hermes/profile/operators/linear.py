"""Products with a weight matrix: bf16, and fp8 where the device has it."""

from __future__ import annotations

from hermes.profile.bench import Kernel, UnsupportedError
from hermes.profile.operators.operands import Operands, rotating
from hermes.profile.point import Point

__all__ = ["linear_kernels"]


def linear_kernels(point: Point, operands: Operands) -> list[Kernel]:
    """Return (tokens, k) x (k, n) products, the weights another matrix every call."""
    torch = operands.torch
    tokens, n, k = (point[name] for name in ("tokens", "n", "k"))
    inputs = operands.random(tokens, k)
    if point.dtype == "bf16":
        linear = torch.nn.functional.linear
        weights = operands.cold(n, k)
        return [Kernel("torch linear", rotating(lambda each: linear(inputs, each), weights))]
    if point.dtype != "fp8":
        raise UnsupportedError(f"no kernel multiplies {point.dtype}")
    return [_fp8(inputs, n, k, operands)]


def _fp8(inputs: object, n: int, k: int, operands: Operands) -> Kernel:
    """Return the product with one scale a tensor; quantizing the inputs is part of the call."""
    torch = operands.torch
    one = torch.ones((), device=operands.device)
    kind = torch.float8_e4m3fn
    weights = [each.to(kind).t() for each in operands.cold(n, k)]

    def call(weight: object) -> object:
        return torch._scaled_mm(
            inputs.to(kind),  # type: ignore[attr-defined]
            weight,
            scale_a=one,
            scale_b=one,
            out_dtype=torch.bfloat16,
        )

    return Kernel("torch scaled_mm, one scale a tensor", rotating(call, weights))
