"""Steps of a dense model as sums of measured operators.

Reads the folders of NVIDIA's aiconfigurator database (one a device: gemm, attention and comm tables
in Parquet) and adds up the operators of a forward pass: what `fit_roofline.py` fits, and what the
roofline is checked against. Between measured sizes the utilisation (datasheet time / latency) is
interpolated on logarithmic axes; outside, the edge's holds. Element-wise operators are not measured
there; they get 0.8 of the memory bandwidth and 3 us each, as in the database's own datasheets.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from hermes.catalog import Device, Model
from hermes.profile.steps import StepShape

__all__ = ["Operators", "aggregates", "step_seconds"]

_ELEMENTWISE_EFFICIENCY = 0.8
_ELEMENTWISE_SECONDS = 3e-6
_ELEMENTWISE_OPS = 3  # two norms with their residual sums, one activation
_HEAD_DIM = 128


def aggregates(step: StepShape) -> tuple[int, int, int]:
    """Return the tokens of a step, the rows that sample, and the keys that it reads."""
    prompt = step.prompts * step.prompt_tokens
    keys = step.decodes * (step.context + 1) + prompt
    return step.decodes + prompt, step.decodes + step.prompts, keys


class _Grid:
    """Values on a rectangular grid, interpolated linearly in the logarithm of every axis."""

    def __init__(self, frame: Any, keys: list[str], values: Any) -> None:
        self.axes = [np.log(np.unique(frame[key].to_numpy().astype(float))) for key in keys]
        self.values = np.full([len(axis) for axis in self.axes], np.nan)
        at = [
            np.searchsorted(axis, np.log(frame[key].to_numpy().astype(float)) - 1e-9)
            for axis, key in zip(self.axes, keys, strict=True)
        ]
        self.values[tuple(at)] = values

    def at(self, *point: float) -> float:
        """Return the interpolated value; NaN where a corner was not measured."""
        corners = [(1.0, ())]
        for axis, coordinate in zip(self.axes, point, strict=True):
            x = min(max(math.log(coordinate), axis[0]), axis[-1])
            low = min(int(np.searchsorted(axis, x, side="right")) - 1, max(len(axis) - 2, 0))
            share = (x - axis[low]) / (axis[low + 1] - axis[low]) if len(axis) > 1 else 0.0
            corners = [
                (weight * part, (*index, low + step))
                for weight, index in corners
                for part, step in ((1 - share, 0), (share, 1))
                if part > 0
            ]
        return float(sum(weight * self.values[index] for weight, index in corners))

    def fill(self) -> _Grid:
        """Give what was not measured the value of the next smaller size of the last axes."""
        for axis in range(1, self.values.ndim):
            moved = np.moveaxis(self.values, axis, 0)
            for row in range(1, len(moved)):
                hole = np.isnan(moved[row])
                moved[row][hole] = moved[row - 1][hole]
        return self


class Operators:
    """Measured operators of one device with linear layers in one data type."""

    def __init__(self, folder: Path, device: Device, dtype: str) -> None:
        import pandas as pd

        def table(pattern: str) -> Any:
            (path,) = sorted(folder.glob(pattern))
            return pd.read_parquet(path)

        self.device = device
        self.dtype = dtype
        self._peak = device.peak_tflops[dtype] * 1e12
        self._half_peak = device.peak_tflops["bf16"] * 1e12
        self._bandwidth = device.memory_bandwidth_gb_per_s * 1e9
        gemm = table("gemm/vllm/*/gemm_perf.parquet")
        self._linear = self._gemm_grid(gemm, dtype)
        self._head = self._gemm_grid(gemm, "bf16")
        self._prefill = self._attention(table("attention/vllm/*/context_attention_perf.parquet"))
        self._decode = self._attention(table("attention/vllm/*/generation_attention_perf.parquet"))
        self._allreduce = self._allreduce_tables(
            table("comm/vllm/*/custom_allreduce_perf.parquet"),
            table("comm/nccl/*/nccl_perf.parquet"),
        )

    def gemm(self, m: int, n: float, k: float, head: bool = False) -> float:
        """Return the seconds of an (m, k) x (k, n) product."""
        dtype, grid = ("bf16", self._head) if head else (self.dtype, self._linear)
        return float(self._gemm_roof(m, n, k, dtype)) / grid.at(m, n, k)

    def prefill_attention(self, step: StepShape, heads: int, kv_heads: int) -> float:
        """Return the seconds of causal attention of one layer over whole prompts."""
        roof = self._prefill_roof(step.prompts, step.prompt_tokens, heads, kv_heads)
        return roof / self._utilisation(
            self._prefill, heads, kv_heads, step.prompts, step.prompt_tokens
        )

    def decode_attention(self, step: StepShape, heads: int, kv_heads: int) -> float:
        """Return the seconds of attention of one layer over cached contexts."""
        length = step.context + 1
        roof = self._decode_roof(step.decodes, length, heads, kv_heads)
        return roof / self._utilisation(self._decode, heads, kv_heads, step.decodes, length)

    def allreduce(self, elements: float, size: int) -> float:
        """Return the seconds of an all-reduce over *size* devices, by the better library."""
        return min(math.exp(grid.at(elements)) for grid in self._allreduce[size])

    def elementwise(self, size_bytes: float) -> float:
        """Return the seconds of element-wise operators over *size_bytes*, launches aside."""
        return size_bytes / (self._bandwidth * _ELEMENTWISE_EFFICIENCY)

    def _gemm_roof(self, m: Any, n: Any, k: Any, dtype: str) -> Any:
        size, peak = (1, self._peak) if dtype == "fp8" else (2, self._half_peak)
        moved = (m * k + k * n) * size + 2 * m * n
        return np.maximum(2.0 * m * n * k / peak, moved / self._bandwidth)

    def _gemm_grid(self, gemm: Any, dtype: str) -> _Grid:
        rows = gemm[gemm.gemm_dtype == {"bf16": "bfloat16"}.get(dtype, dtype)]
        m, n, k = (rows[key].to_numpy().astype(float) for key in "mnk")
        utilisation = self._gemm_roof(m, n, k, dtype) / (rows.latency.to_numpy() * 1e-3)
        return _Grid(rows, ["m", "n", "k"], utilisation).fill()

    def _prefill_roof(self, batch: Any, length: Any, heads: int, kv_heads: int) -> Any:
        flops = 2.0 * batch * length * (length + 1) * heads * _HEAD_DIM
        moved = 2.0 * batch * length * (2 * heads + 2 * kv_heads) * _HEAD_DIM
        return np.maximum(flops / self._half_peak, moved / self._bandwidth)

    def _decode_roof(self, batch: Any, length: Any, heads: int, kv_heads: int) -> Any:
        flops = 4.0 * batch * length * heads * _HEAD_DIM
        moved = 4.0 * batch * length * kv_heads * _HEAD_DIM
        return np.maximum(flops / self._half_peak, moved / self._bandwidth)

    def _attention(self, table: Any) -> dict[tuple[int, int], _Grid]:
        rows = table[(table.head_dim == _HEAD_DIM) & (table.kv_cache_dtype == "bfloat16")]
        if "window_size" in rows:
            rows = rows[rows.window_size == 0]
        prefill = rows.op_name.iloc[0].startswith("context")
        roof = self._prefill_roof if prefill else self._decode_roof
        rows = rows.assign(length=rows.isl if prefill else rows.isl + rows.step)
        rows = rows.sort_values("latency").drop_duplicates(
            ["num_heads", "num_key_value_heads", "batch_size", "length"]
        )
        grids = {}
        for (heads, kv_heads), part in rows.groupby(["num_heads", "num_key_value_heads"]):
            batch, length = (part[key].to_numpy().astype(float) for key in ("batch_size", "length"))
            latency = part.latency.to_numpy() * 1e-3
            utilisation = roof(batch, length, heads, kv_heads) / latency
            grids[int(heads), int(kv_heads)] = _Grid(part, ["batch_size", "length"], utilisation)
        return grids

    @staticmethod
    def _utilisation(
        grids: dict[tuple[int, int], _Grid], heads: int, kv_heads: int, batch: int, length: int
    ) -> float:
        if (heads, kv_heads) in grids:
            return grids[heads, kv_heads].at(batch, length)
        known = sorted(have for have, kv in grids if kv == kv_heads)
        below = [have for have in known if have < heads]
        above = [have for have in known if have > heads]
        if not below or not above:
            return math.nan
        low, high = below[-1], above[0]
        share = math.log(heads / low) / math.log(high / low)
        return (1 - share) * grids[low, kv_heads].at(batch, length) + share * grids[
            high, kv_heads
        ].at(batch, length)

    def _allreduce_tables(self, custom: Any, nccl: Any) -> dict[int, list[_Grid]]:
        graph = custom[custom.kernel_source == "vLLM_custom_graph"]
        ring = nccl[(nccl.op_name == "all_reduce") & (nccl.nccl_dtype == "half")]
        tables: dict[int, list[_Grid]] = {}
        for size in sorted(ring.num_gpus.unique()):
            # vLLM's own kernel needs links beyond two devices
            linked = self.device.link_bandwidth_gb_per_s > 0 or size == 2
            for source in (graph, ring) if linked else (ring,):
                part = source[source.num_gpus == size].drop_duplicates("message_size")
                seconds = np.log(part.latency.to_numpy() * 1e-3)
                tables.setdefault(int(size), []).append(_Grid(part, ["message_size"], seconds))
        return tables


def step_seconds(operators: Operators, model: Model, size: int, step: StepShape) -> float:
    """Return the seconds of a pass over *step* on *size* devices; NaN where not measured."""
    heads = model.num_attention_heads // size
    kv_heads = max(1, model.num_key_value_heads // size)
    tokens, rows, _ = aggregates(step)
    hidden, width = model.hidden_size, model.intermediate_size / size
    linear = (
        operators.gemm(tokens, (heads + 2 * kv_heads) * model.head_dim, hidden)
        + operators.gemm(tokens, hidden, heads * model.head_dim)
        + operators.gemm(tokens, (model.mlp_matrices - 1) * width, hidden)
        + operators.gemm(tokens, hidden, width)
    )
    attention = operators.prefill_attention(step, heads, kv_heads) if step.prompts else 0.0
    attention += operators.decode_attention(step, heads, kv_heads) if step.decodes else 0.0
    moved = 2.0 * tokens * (8 * hidden + model.mlp_matrices * width)
    elementwise = _ELEMENTWISE_OPS * _ELEMENTWISE_SECONDS + operators.elementwise(moved)
    seconds = model.num_hidden_layers * (linear + attention + elementwise)
    seconds += operators.gemm(rows, model.vocab_size / size, hidden, head=True)
    if size > 1:
        count = 2 * model.num_hidden_layers + 1
        seconds += count * operators.allreduce(tokens * hidden, size)
    return seconds
