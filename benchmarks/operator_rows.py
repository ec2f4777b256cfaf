"""Measured calls of operators, with the work that the simulator counts for them.

Reads the folders of NVIDIA's aiconfigurator database (one a device). What no serving engine does is
left out: products of less than two million weights, experts over more than 16 devices, attention
whose cache would still lie in the device's second-level cache from the call before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hermes.catalog import Device
from hermes.costs.chip import Chip, ExpertShape, HeadShape
from hermes.costs.law import Amounts
from hermes.costs.pass_cost import ALIGNED_ABOVE, ALIGNMENT

__all__ = ["FAMILIES", "Rows", "read_latent_rows", "read_rows"]

FAMILIES = (
    "linear",
    "linear_odd",
    "experts",
    "prefill",
    "decode",
    "mla_prefill",
    "mla_decode",
    "allreduce",
)
DTYPES = {"bfloat16": "bf16", "int4_wo": "int4"}
ALIGNED = {"fp8"}  # kernels that slow down where the rows do not divide
ROUTING = "power_law_1.01"
CACHE_BYTES = 32e6  # measured to be read faster than memory allows, on H100
NOPE, ROPE, RANK, VALUE, QUERY_RANK, HIDDEN = 128, 64, 512, 128, 1536, 7168  # of DeepSeek-V3


@dataclass(frozen=True)
class Rows:
    """Calls of one kind: what they did and how long they took."""

    columns: dict[str, np.ndarray]
    work: Callable[[dict[str, np.ndarray], float], Amounts]
    seconds: np.ndarray
    tokens: np.ndarray
    shapes: np.ndarray

    def amounts(self, skew: float) -> Amounts:
        """Return the work at datasheet peaks."""
        amounts = self.work(self.columns, skew)
        return Amounts(*(np.broadcast_to(part, self.seconds.shape) for part in amounts))

    def part(self, chosen: np.ndarray) -> Rows:
        """Return some of the calls."""
        columns = {name: values[chosen] for name, values in self.columns.items()}
        return Rows(
            columns, self.work, self.seconds[chosen], self.tokens[chosen], self.shapes[chosen]
        )

    def shape_group(self, groups: int) -> np.ndarray:
        """Deal the shapes to groups: calls of one shape stay together."""
        kinds, index = np.unique(self.shapes, return_inverse=True)
        if len(kinds) < 2 * groups:
            index = np.arange(len(index))
        return (index * 2654435761 % 2**32 >> 16) % groups


def read_rows(folder: Path, device: Device) -> Iterator[tuple[tuple[str, str], Rows]]:
    """Yield the calls measured on a device, by kind of operator and data type."""
    chip = Chip(device)
    for table in _tables(folder, "gemm/vllm/*/gemm_perf.parquet"):
        yield from _linear(chip, table)
    for table in _tables(folder, "moe/vllm/*/moe_perf.parquet"):
        yield from _experts(chip, table)
    for table in _tables(folder, "attention/vllm/*/context_attention_perf.parquet"):
        yield from _prefill(chip, table)
    for table in _tables(folder, "attention/vllm/*/generation_attention_perf.parquet"):
        yield from _decode(chip, table)
    yield from _allreduce(chip, folder)


def _tables(folder: Path, pattern: str) -> list[Any]:
    import pandas as pd

    return [pd.read_parquet(path) for path in sorted(folder.glob(pattern))]


def _rows(
    table: Any, names: dict[str, str], work: Any, tokens: Any, shape: list[str], keep: Any
) -> Rows:
    columns = {ours: table[theirs].to_numpy(float) for ours, theirs in names.items()}
    shapes = table[shape].astype(str).agg("/".join, axis=1).to_numpy()
    rows = Rows(columns, work, table.latency.to_numpy() * 1e-3, tokens(columns), shapes)
    return rows.part(keep(columns) & (rows.seconds > 0))


def _linear(chip: Chip, table: Any) -> Iterator[tuple[tuple[str, str], Rows]]:
    names = {"m": "m", "n": "n", "k": "k"}
    for given, part in table.groupby("gemm_dtype"):
        dtype = DTYPES.get(given, given)
        stored = dtype.removesuffix("_block")

        def work(c: dict[str, np.ndarray], skew: float, stored: str = stored) -> Amounts:
            return chip.linear(c["m"], c["n"], c["k"], stored)

        def keep(c: dict[str, np.ndarray]) -> np.ndarray:
            weights = c["n"] * c["k"]
            narrow = np.minimum(c["n"], c["k"]) < 512
            return (weights >= 2**21) & (weights <= 2**28) & ~narrow & (c["m"] <= 16384)

        if not _known(chip, stored):
            continue
        rows = _rows(part, names, work, lambda c: c["m"], ["n", "k"], keep)
        odd = (rows.tokens > ALIGNED_ABOVE) & (rows.tokens % ALIGNMENT != 0)
        yield ("linear", dtype), rows.part(~odd) if dtype in ALIGNED else rows
        if dtype in ALIGNED and odd.any():
            yield ("linear_odd", dtype), rows.part(odd | (rows.tokens <= ALIGNED_ABOVE))


def _known(chip: Chip, stored: str) -> bool:
    peaks = chip.device.peak_tflops
    return {"nvfp4": "fp4", "int4": "bf16"}.get(stored, stored) in peaks


def _experts(chip: Chip, table: Any) -> Iterator[tuple[tuple[str, str], Rows]]:
    names = {
        "m": "num_tokens",
        "h": "hidden_size",
        "i": "inter_size",
        "k": "topk",
        "e": "num_experts",
        "tp": "moe_tp_size",
        "ep": "moe_ep_size",
    }
    for given, part in table[table.distribution == ROUTING].groupby("moe_dtype"):
        dtype = DTYPES.get(given, given)
        stored = dtype.removesuffix("_block")

        def work(c: dict[str, np.ndarray], skew: float, stored: str = stored) -> Amounts:
            shape = ExpertShape(c["h"], c["i"] / c["tp"], 3, c["k"], c["e"], c["ep"])
            return chip.experts(c["m"], shape, skew, stored)

        def keep(c: dict[str, np.ndarray]) -> np.ndarray:
            few = c["tp"] * c["ep"] <= 16
            return few & (c["i"] / c["tp"] >= 64) & (c["m"] <= 16384)

        if _known(chip, stored):
            shape = ["hidden_size", "inter_size", "topk", "num_experts"]
            yield (("experts", dtype), _rows(part, names, work, lambda c: c["m"], shape, keep))


ATTENTION = {
    "b": "batch_size",
    "length": "length",
    "prefix": "prefix",
    "heads": "num_heads",
    "kv": "kv_heads",
    "window": "window_size",
}


def _attention_table(table: Any, prefill: bool) -> Iterator[tuple[str, int, Any]]:
    if "window_size" not in table:
        table = table.assign(window_size=0)
    kv_heads = table.num_key_value_heads.where(table.num_key_value_heads > 0, table.num_heads)
    length = table.isl if prefill else table.isl + table.step
    table = table.assign(length=length, prefix=table.step, kv_heads=kv_heads)
    table = table[(table.window_size == 0) & (table.kv_cache_dtype.isin(["bfloat16", "fp8"]))]
    for (kv, dim), part in table.groupby(["kv_cache_dtype", "head_dim"]):
        yield DTYPES.get(kv, kv), int(dim), part


def _prefill(chip: Chip, table: Any) -> Iterator[tuple[tuple[str, str], Rows]]:
    for kv, dim, part in _attention_table(table, prefill=True):
        if dim != 128:
            continue
        size = 2.0 if kv == "bf16" else 1.0

        def work(c: dict[str, np.ndarray], skew: float, size: float = size) -> Amounts:
            pairs = c["b"] * (c["length"] * c["prefix"] + c["length"] * (c["length"] + 1) / 2)
            keys = c["b"] * (c["length"] + c["prefix"])
            tokens = c["b"] * c["length"]
            return chip.prefill_attention(
                tokens, keys, pairs, HeadShape(c["heads"], c["kv"], 128, 128, size)
            )

        def keep(c: dict[str, np.ndarray]) -> np.ndarray:
            return (c["b"] * c["length"] <= 32768) & (c["length"] >= 16) & (c["heads"] >= 4)

        shape = ["num_heads", "kv_heads"]
        rows = _rows(part, ATTENTION, work, lambda c: c["b"] * c["length"], shape, keep)
        yield (("prefill", kv), rows)


def _decode(chip: Chip, table: Any) -> Iterator[tuple[tuple[str, str], Rows]]:
    for kv, dim, part in _attention_table(table, prefill=False):
        if dim != 128:
            continue
        size = 2.0 if kv == "bf16" else 1.0

        def work(c: dict[str, np.ndarray], skew: float, size: float = size) -> Amounts:
            keys = c["b"] * c["length"]
            return chip.decode_attention(
                c["b"], keys, HeadShape(c["heads"], c["kv"], 128, 128, size)
            )

        def keep(c: dict[str, np.ndarray], size: float = size) -> np.ndarray:
            cached = c["b"] * c["length"] * c["kv"] * 256 * size
            tiny = cached < 2e6
            return (tiny | (cached > CACHE_BYTES)) & (c["heads"] >= 4) & (c["b"] <= 1024)

        shape = ["num_heads", "kv_heads"]
        yield (("decode", kv), _rows(part, ATTENTION, work, lambda c: c["b"], shape, keep))


def read_latent_rows(
    folder: Path, device: Device, linear: Callable[[str, Any, Any, Any], Any]
) -> Iterator[tuple[tuple[str, str], Rows]]:
    """Yield the attention inside measured latent-attention modules.

    A module is its projections and its attention; *linear* gives the seconds of an (m, k) x (k, n)
    product with weights of a type, so that what is left is attention. Weights with a scale per
    block have laws of their own: measured alone, their products take a while to start that they do
    not take in a module.
    """
    chip = Chip(device)
    for prefill, pattern in ((True, "mla_context_module"), (False, "mla_generation_module")):
        for found in _tables(folder, f"mla/vllm/*/{pattern}_perf.parquet"):
            table = found[found.mla_dtype == "bfloat16"]
            table = table.assign(length=table.isl if prefill else table.step)
            for (stored, kv), part in table.groupby(["gemm_type", "kv_cache_dtype"]):
                weights, cache = (DTYPES.get(name, name) for name in (stored, kv))
                dtype = cache if weights == "bf16" else f"{weights} {cache}"
                kind = ("mla_prefill" if prefill else "mla_decode", dtype)
                product = partial(linear, weights)
                yield kind, _latent(chip, part, prefill, product, 2.0 if cache == "bf16" else 1.0)


def _latent(chip: Chip, table: Any, prefill: bool, linear: Any, size: float) -> Rows:
    batch, length, heads = (
        table[name].to_numpy(float) for name in ("batch_size", "length", "num_heads")
    )
    tokens = batch * length if prefill else batch
    projections = (
        linear(tokens, np.full_like(tokens, QUERY_RANK + RANK + ROPE), HIDDEN)
        + linear(tokens, heads * (NOPE + ROPE), QUERY_RANK)
        + linear(tokens, heads * (NOPE + VALUE), RANK)
        + linear(tokens, HIDDEN, heads * VALUE)
    )
    table = table.assign(latency=table.latency - 1e3 * projections)
    names = {"b": "batch_size", "length": "length", "heads": "num_heads"}

    def work(c: dict[str, np.ndarray], skew: float) -> Amounts:
        if prefill:
            pairs, n = c["b"] * c["length"] * (c["length"] + 1) / 2, c["b"] * c["length"]
            shape = HeadShape(c["heads"], c["heads"], NOPE + ROPE, VALUE, 2.0)
            return chip.prefill_attention(n, n, pairs, shape)
        keys = c["b"] * c["length"]
        shape = HeadShape(c["heads"], 1, RANK + ROPE, RANK, size)
        return chip.decode_attention(c["b"], keys, shape, latent=True)

    def keep(c: dict[str, np.ndarray]) -> np.ndarray:
        few = c["b"] * (c["length"] if prefill else 1) <= (32768 if prefill else 1024)
        return few & (c["heads"] >= 4) & (c["length"] >= (16 if prefill else 1))

    shape = ["num_heads", "batch_size"]
    return _rows(table, names, work, lambda c: tokens_of(c, prefill), shape, keep)


def tokens_of(columns: dict[str, np.ndarray], prefill: bool) -> np.ndarray:
    """Return the query tokens of each call."""
    return columns["b"] * columns["length"] if prefill else columns["b"]


def _allreduce(chip: Chip, folder: Path) -> Iterator[tuple[tuple[str, str], Rows]]:
    import pandas as pd

    linked = chip.device.link_bandwidth_gb_per_s > 0
    parts = []
    for table in _tables(folder, "comm/vllm/*/custom_allreduce_perf.parquet"):
        graph = table[table.kernel_source == "vLLM_custom_graph"]
        parts.append(graph if linked else graph[graph.num_gpus == 2])
    parts += [
        table[(table.op_name == "all_reduce") & (table.nccl_dtype == "half")]
        for table in _tables(folder, "comm/nccl/*/nccl_perf.parquet")
    ]
    columns = ["num_gpus", "message_size", "latency"]
    table = pd.concat([part[columns] for part in parts])
    table = table.groupby(columns[:2], as_index=False).latency.min()  # the better library

    def work(c: dict[str, np.ndarray], skew: float) -> Amounts:
        sizes = c["size"].astype(int)
        amounts = [chip.allreduce(2.0 * n, int(s)) for n, s in zip(c["n"], sizes, strict=True)]
        return Amounts(*(np.array(part) for part in zip(*amounts, strict=True)))

    def keep(c: dict[str, np.ndarray]) -> np.ndarray:
        return (c["n"] >= 2048) & (c["n"] <= 2**27) & (c["size"] <= 8)

    names = {"size": "num_gpus", "n": "message_size"}
    for size, part in table.groupby("num_gpus"):
        rows = _rows(part, names, work, lambda c: c["n"] / 4096, ["message_size"], keep)
        if len(rows.seconds):
            yield ("allreduce", str(size)), rows
