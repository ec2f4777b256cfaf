"""What kernels ask of CUDA, checked by PyTorch's own rules on tensors without values.

PyTorch knows for an operator which shapes, layouts and types its CUDA kernel accepts, and checks
them on the device `meta` too, which no GPU need hold.
"""

from __future__ import annotations

from typing import Any

import pytest

from hermes.catalog import find_model
from hermes.profile.bench import Kernel
from hermes.profile.machine import Machine
from hermes.profile.point import Point
from hermes.profile.reach import reach_of
from hermes.profile.shapes_step import (
    decode_point,
    expert_points,
    linear_points,
    prefill_point,
)

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra [profile])")

MODELS = [find_model(name) for name in ("llama-3.1-8b", "qwen2.5-7b", "qwen3-30b-a3b")]
REACH = reach_of(
    Machine("cuda:0", "NVIDIA H200", 150 * 10**9, 50 * 2**20, 1, True, "580", "2", 16), 600
)


@pytest.fixture
def operands(tmp_path) -> Any:
    """Operands that have shapes, layouts and types alone, as many as a large GPU holds."""
    from hermes.profile.operators.operands import Operands

    class Shapes(Operands):
        def __init__(self) -> None:
            self.torch, self.device, self.folder = torch, "meta", tmp_path
            self._pool = torch.empty(2**32, dtype=torch.bfloat16, device="meta")
            self._turn, self._kept = 0, {}

        def random(self, *shape: int, dtype: Any = None) -> Any:
            return torch.empty(shape, dtype=dtype or torch.bfloat16, device="meta")

    return Shapes()


def kernels(each: Point, operands: Any) -> list[Kernel]:
    from hermes.profile.operators import kernels_of

    return kernels_of(each, operands)


def test_the_layouts_of_fp8_products_are_those_that_cuda_takes(operands):
    points = [each for each in linear_points(MODELS[:2], REACH) if each.dtype == "fp8"]
    shapes = {(each["n"], each["k"]): each for each in points}
    assert len(shapes) > 20
    for each in shapes.values():
        fast, exact = kernels(each, operands)
        assert "fast accumulation" in fast.name
        for kernel in (fast, exact):
            found = kernel.call()
            assert found.shape == (each["tokens"], each["n"])
            assert found.dtype == torch.bfloat16


def test_fp8_weights_that_lie_row_by_row_would_be_refused(operands):
    one = torch.ones((), device="meta")
    a, b = (operands.random(64, 64).to(torch.float8_e4m3fn) for _ in range(2))
    torch._scaled_mm(a, b.t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16)
    with pytest.raises(RuntimeError, match="col_major"):
        torch._scaled_mm(a, b, scale_a=one, scale_b=one, out_dtype=torch.bfloat16)


def test_the_layouts_of_grouped_products_are_those_that_cuda_takes(operands):
    shapes = {each.columns[1:]: each for each in expert_points(MODELS, REACH)}
    assert len(shapes) >= 4
    for each in shapes.values():
        (kernel,) = kernels(each, operands)
        assert kernel.call().shape == (each["tokens"], each["hidden"])


@pytest.mark.parametrize("heads", [(32, 8, 128), (28, 4, 128), (4, 4, 64)])
def test_attention_is_asked_for_as_flash_attention_can_give_it(operands, heads, monkeypatch):
    """No mask but a causal bias, values next to one another, at most 256 of them a head."""
    from torch.nn import functional
    from torch.nn.attention.bias import CausalBias

    whole, asked = functional.scaled_dot_product_attention, []

    def attention(queries: Any, keys: Any, values: Any, **options: Any) -> Any:
        mask = options.get("attn_mask")
        asked.append(mask)
        assert mask is None or isinstance(mask, CausalBias)
        assert all(each.stride(-1) == 1 for each in (queries, keys, values))
        assert all(each.shape[-1] == heads[2] <= 256 for each in (queries, keys, values))
        grouped = queries.shape[1] != keys.shape[1]
        assert bool(options.get("enable_gqa")) == grouped
        with monkeypatch.context() as before:  # the bias knows the function by its identity
            before.setattr(functional, "scaled_dot_product_attention", whole)
            return whole(queries, keys, values, **options)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", attention)
    points = [decode_point(heads, 8, 1024), prefill_point(heads, 512, 512)]
    points.append(prefill_point(heads, 64, 2048))  # after a prefix
    operands.device = "cuda:0"
    for each in points:
        found = {kernel.name: kernel for kernel in kernels(each, operands)}
        assert list(found) == [f"torch attention, {k}" for k in ("flash", "cudnn", "efficient")]
        answer = found["torch attention, flash"].call()
        length = 1 if each.operator == "decode" else each["length"]
        assert answer.shape == (each["batch"], heads[0], length, heads[2])
    assert [mask is None for mask in asked] == [True, True, False]


def test_a_chunk_after_a_prefix_attends_as_the_mask_says(tmp_path):
    """What is used on a GPU, PyTorch's lower-right causal bias, is what is used elsewhere."""
    from torch.nn.attention.bias import causal_lower_right
    from torch.nn.functional import scaled_dot_product_attention

    queries, keys = torch.randn(2, 8, 4, 16), torch.randn(2, 2, 12, 16)
    mask = torch.ones(4, 12, dtype=torch.bool).tril(8)
    found = [
        scaled_dot_product_attention(queries, keys, keys, attn_mask=each, enable_gqa=True)
        for each in (causal_lower_right(4, 12), mask)
    ]
    assert torch.allclose(*found)
