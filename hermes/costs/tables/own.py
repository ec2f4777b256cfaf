"""Hermes's own table: one row a measured call, units in the names of the columns.

Every row names its `operator`, its `dtype` and its `latency_us` (or `latency_ms`); `device`,
`engine`, `version` and `source` say where it comes from, and `spread` (interquartile range over
median), `runs`, `kernel`, `method`, `clock_mhz` and `power_w` how it was measured: `hermes profile`
writes them, steps do not read them. The shape is in the operator's columns:

| operator | columns |
|---|---|
| linear | tokens, n, k |
| experts | tokens, hidden, width, top_k, experts, groups |
| prefill | batch, length, prefix, heads, kv_heads, head_dim |
| decode | batch, length, heads, kv_heads, head_dim |
| allreduce, alltoall, send_recv | devices, message_bytes |
| norm (with a residual sum), activation, rope, embedding | tokens, width |
| sampling | tokens, n (the vocabulary) |
| experts_uniform (no expert busier than another) | as experts |
| encoder (a whole pass) | batch, length, layers, hidden, width, heads |
| host_to_device, device_to_host, device_to_device, host_read, disk_read | bytes |
| search (IVF-PQ) | batch, vectors, dimensions, lists, probes, code_bytes, top_k |
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hermes.catalog import dtype_name
from hermes.costs.tables.calls import OPERATORS, Call
from hermes.costs.tables.frame import Row, number, read_rows
from hermes.errors import InputError, UnknownNameError

__all__ = ["attention_shape", "read_own"]

_LATENCY = {"latency_us": 1e-6, "latency_ms": 1e-3}
_ABOUT = (
    "operator",
    "dtype",
    "device",
    "engine",
    "version",
    "source",
    "spread",
    "runs",
    "kernel",
    "method",
    "clock_mhz",
    "power_w",
    *_LATENCY,
)
_SHAPE = (
    "tokens",
    "n",
    "k",
    "hidden",
    "width",
    "top_k",
    "experts",
    "groups",
    "batch",
    "length",
    "prefix",
    "heads",
    "kv_heads",
    "head_dim",
    "devices",
    "message_bytes",
    "layers",
    "bytes",
    "vectors",
    "dimensions",
    "lists",
    "probes",
    "code_bytes",
)
_ALLOWED = (*_ABOUT, *_SHAPE)
_OPERATORS = tuple(name for name in OPERATORS if not name.startswith("mla_"))
"""Modules of latent attention are read from NVIDIA's database alone."""


def read_own(path: Path) -> Iterator[tuple[str, Call]]:
    """Yield the device and the call of every row.

    Raises:
        InputError: A column, a unit, an operator or a number is not known; names file and line.
    """
    for line, row in read_rows(path):
        unit = _unit(row, path)
        operator = str(row["operator"])
        if operator not in _OPERATORS:
            error = UnknownNameError.among("operator", operator, list(_OPERATORS), "operator")
            raise error.inside(file=str(path))
        seconds = number(row, unit, path, line) * _LATENCY[unit]
        dtype = dtype_name(str(row.get("dtype") or "bf16"), "dtype")
        if operator in {"prefill", "decode"}:
            shape = _attention(row, operator, path, line)
        else:
            shape = tuple(number(row, name, path, line) for name in OPERATORS[operator])
        yield str(row.get("device") or ""), Call(operator, dtype, shape, seconds, line)


def attention_shape(
    operator: str, heads: tuple[float, float, float], batch: float, length: float, prefix: float
) -> tuple[float, ...]:
    """Return the coordinates of attention over *batch* sequences.

    Args:
        operator: `prefill`: *length* queries after *prefix* keys; `decode`: one over *length*.
        heads: Heads, KV heads, and the width of a head.
        batch: Sequences.
        length: Of each.
        prefix: Of each, cached before.
    """
    if operator == "decode":
        return (*heads, length, batch)
    return (*heads, 2 * prefix + length + 1, batch * length)


def _attention(row: Row, operator: str, path: Path, line: int) -> tuple[float, ...]:
    heads, kv_heads, dim, batch, length = (
        number(row, name, path, line)
        for name in ("heads", "kv_heads", "head_dim", "batch", "length")
    )
    prefix = number(row, "prefix", path, line) if row.get("prefix") not in {None, ""} else 0.0
    return attention_shape(operator, (heads, kv_heads, dim), batch, length, prefix)


def _unit(row: Row, path: Path) -> str:
    for column in row:
        if column not in _ALLOWED:
            raise UnknownNameError.among("column", column, list(_ALLOWED), column).inside(
                file=str(path)
            )
    found = [unit for unit in _LATENCY if unit in row]
    if len(found) != 1 or "operator" not in row:
        missing = "operator" if "operator" not in row else "latency_us or latency_ms"
        raise InputError(f"needs the column {missing}", file=str(path), line=1)
    return found[0]
