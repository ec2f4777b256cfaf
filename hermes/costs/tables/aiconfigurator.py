"""NVIDIA's operator database, read by location: `<folder>/<family>/<backend>/<version>/*.parquet`.

Its Python calls change with every release; the Parquet files do not. Of latent attention, whole
modules are measured, at DeepSeek-V3's sizes; tables of its bare kernels are left aside. Of several
kernels for a call the fastest is taken, and of several routings of experts the one closest to
traffic.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hermes.costs.tables.calls import Call
from hermes.costs.tables.latent import module_kind
from hermes.costs.tables.own import attention_shape
from hermes.errors import InputError, UnknownNameError

__all__ = ["PREFIX", "installed_folder", "is_aiconfigurator", "read_aiconfigurator"]

PREFIX = "aiconfigurator:"
"""What a system of the installed package is named with in place of a path."""

_MS = 1e-3
_ROUTING = "power_law_1.01"
_DTYPES = {"bfloat16": "bf16", "int4_wo": "int4", "w4a16_mxfp4": "mxfp4"}
_BYTES = 2.0
_DEEPSEEK = (7168, 1536, 512)
"""Hidden size, rank of the queries and of the latent, of all measured modules."""


def installed_folder(name: str) -> Path:
    """Return the folder of a system, such as `aiconfigurator:h100_sxm`, in the installed package.

    Raises:
        InputError: The package is not installed.
        UnknownNameError: It has no such system.
    """
    found = importlib.util.find_spec("aiconfigurator_core")
    if found is None or not found.submodule_search_locations:
        raise InputError(f"{name} needs the package: pip install 'hermes-dse[aiconfigurator]'")
    data = Path(next(iter(found.submodule_search_locations))) / "systems" / "data"
    system = name.removeprefix(PREFIX)
    folder = data / system
    if not is_aiconfigurator(folder):
        known = sorted(path.name for path in data.iterdir() if is_aiconfigurator(path))
        raise UnknownNameError.among("system", system, known, "table")
    return folder


def is_aiconfigurator(folder: Path) -> bool:
    """Return whether a folder is one device of the database."""
    return any(folder.glob("gemm/*/*/gemm_perf.parquet"))


def read_aiconfigurator(
    folder: Path, linked: bool = True, backend: str = "vllm"
) -> Iterator[tuple[str, Call]]:
    """Yield the calls measured on one device.

    Args:
        folder: Of the device.
        linked: Whether its devices have links of their own; without, vLLM's all-reduce serves two.
        backend: The engine whose kernels were measured.
    """
    for row in _rows(folder, f"gemm/{backend}/*/gemm_perf.parquet", "gemm_dtype", "m", "n", "k"):
        dtype, m, n, k, latency = row
        yield "", Call("linear", _DTYPES.get(dtype, dtype), (n, k, m), latency * _MS)
    yield from _experts(folder, backend)
    for operator, name in (("prefill", "context"), ("decode", "generation")):
        yield from _attention(folder, backend, operator, name)
    for operator, name in (("mla_prefill", "context"), ("mla_decode", "generation")):
        yield from _latent_modules(folder, backend, operator, name)
    yield from _allreduce(folder, backend, linked)


def _table(folder: Path, pattern: str) -> Iterator[Any]:
    import pyarrow.parquet as pq

    found = sorted(folder.glob(pattern), key=_version)
    for path in found[-1:]:  # the newest
        yield pq.read_table(path)


def _version(path: Path) -> tuple[int, ...]:
    """Return the version that the folder of a table is named after, for sorting."""
    return tuple(int(part) for part in re.findall(r"[0-9]+", path.parent.name))


def _rows(folder: Path, pattern: str, *columns: str) -> Iterator[tuple[Any, ...]]:
    """Yield the columns and the latency, the least of each call."""
    for table in _table(folder, pattern):
        chosen = table.select([*columns, "latency"]).group_by(list(columns))
        least = chosen.aggregate([("latency", "min")])
        names = (*columns, "latency_min")
        yield from zip(*(least.column(name).to_pylist() for name in names), strict=True)


def _experts(folder: Path, backend: str) -> Iterator[tuple[str, Call]]:
    columns = (
        "moe_dtype",
        "distribution",
        "hidden_size",
        "inter_size",
        "topk",
        "num_experts",
        "moe_tp_size",
        "moe_ep_size",
        "num_tokens",
    )
    for row in _rows(folder, f"moe/{backend}/*/moe_perf.parquet", *columns):
        dtype, routing, hidden, width, top_k, experts, tp, ep, tokens, latency = row
        if routing == _ROUTING:
            shape = (hidden, width / tp, top_k, experts, ep, tokens)
            yield "", Call("experts", _DTYPES.get(dtype, dtype), shape, latency * _MS)


def _attention(folder: Path, backend: str, operator: str, name: str) -> Iterator[tuple[str, Call]]:
    import pyarrow as pa
    import pyarrow.compute as pc

    for found in _table(folder, f"attention/{backend}/*/{name}_attention_perf.parquet"):
        table = found
        if "window_size" in table.column_names:
            table = table.filter(pc.equal(table["window_size"], pa.scalar(0, pa.int64())))
        names = (
            "kv_cache_dtype",
            "num_heads",
            "num_key_value_heads",
            "head_dim",
            "batch_size",
            "isl",
            "step",
            "latency",
        )
        columns = (table.column(column).to_pylist() for column in names)
        for dtype, heads, kv, dim, batch, isl, step, latency in zip(*columns, strict=True):
            shape = (heads, kv or heads, dim)
            length, prefix = (isl, step) if operator == "prefill" else (isl + step, 0)
            coordinates = attention_shape(operator, shape, batch, length, prefix)
            yield "", Call(operator, _DTYPES.get(dtype, dtype), coordinates, latency * _MS)


def _latent_modules(
    folder: Path, backend: str, operator: str, name: str
) -> Iterator[tuple[str, Call]]:
    names = ("gemm_type", "mla_dtype", "kv_cache_dtype", "num_heads", "batch_size", "isl", "step")
    for row in _rows(folder, f"mla/{backend}/*/mla_{name}_module_perf.parquet", *names):
        weights, inside, cache, heads, batch, isl, step, latency = row
        if inside != "bfloat16":
            continue
        kind = module_kind(_DTYPES.get(weights, weights), _DTYPES.get(cache, cache))
        prompt = operator == "mla_prefill"
        length, tokens = (isl + 1, batch * isl) if prompt else (step, batch)
        if length > 0 and tokens > 0:
            yield "", Call(operator, kind, (*_DEEPSEEK, heads, length, tokens), latency * _MS)


def _allreduce(folder: Path, backend: str, linked: bool) -> Iterator[tuple[str, Call]]:
    least: dict[tuple[float, float], float] = {}
    custom = _rows(
        folder,
        f"comm/{backend}/*/custom_allreduce_perf.parquet",
        "kernel_source",
        "num_gpus",
        "message_size",
    )
    for kernel, size, elements, latency in custom:
        if kernel == "vLLM_custom_graph" and (linked or size == 2):
            least[size, _BYTES * elements] = latency * _MS
    nccl = _rows(
        folder,
        "comm/nccl/*/nccl_perf.parquet",
        "op_name",
        "nccl_dtype",
        "num_gpus",
        "message_size",
    )
    for name, dtype, size, elements, latency in nccl:
        key = (size, _BYTES * elements)
        if (name, dtype) == ("all_reduce", "half"):
            least[key] = min(latency * _MS, least.get(key, latency * _MS))
    for shape, seconds in least.items():
        yield "", Call("allreduce", "bf16", shape, seconds)
