"""Products with a weight matrix: bf16, and fp8 where the device has it."""

from __future__ import annotations

from typing import Any

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
    return _fp8(inputs, n, k, operands)


def _fp8(inputs: Any, n: int, k: int, operands: Operands) -> list[Kernel]:
    """Return the product with one scale a tensor; quantizing the inputs is part of the call.

    The first operand lies row by row, the second column by column, the scales are 32-bit, as
    cuBLASLt wants it. With fast accumulation Hopper adds up in fewer bits, as engines let it.
    """
    torch = operands.torch
    one = torch.ones((), dtype=torch.float32, device=operands.device)
    kind = torch.float8_e4m3fn
    weights = [each.to(kind).t() for each in operands.cold(n, k)]

    def kernel(name: str, fast: bool) -> Kernel:
        def call(weight: Any) -> Any:
            return torch._scaled_mm(
                inputs.to(kind),
                weight,
                scale_a=one,
                scale_b=one,
                out_dtype=torch.bfloat16,
                use_fast_accum=fast,
            )

        return Kernel(f"torch scaled_mm, one scale a tensor{name}", rotating(call, weights))

    return [kernel(", fast accumulation", True), kernel("", False)]
