"""Vidur's profiling files: `mlp.csv` and `attention.csv`, one row a batch, times in milliseconds.

Frontier writes the same layout. The median of the repeats is taken. Embedding, norms, rotary
embedding and activation are left to the roofline.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hermes.costs.tables.calls import Call
from hermes.costs.tables.frame import Row, number, read_rows
from hermes.costs.tables.own import attention_shape

__all__ = ["is_vidur", "read_vidur"]

_MS = 1e-3
_MARK = "num_tensor_parallel_workers"


def is_vidur(header: frozenset[str]) -> bool:
    """Return whether a header is that of a Vidur profile."""
    return _MARK in header and any(name.startswith("time_stats.") for name in header)


def read_vidur(path: Path) -> Iterator[tuple[str, Call]]:
    """Yield the calls of a file; the layout names no device."""
    for line, row in read_rows(path):
        parse = _linear if "num_tokens" in row else _attention
        for call in parse(row, path, line):
            yield "", call


def _linear(row: Row, path: Path, line: int) -> Iterator[Call]:
    def cell(name: str) -> float:
        return number(row, name, path, line)

    tokens, size, hidden = cell("num_tokens"), cell(_MARK), cell("n_embd")
    heads, kv_heads = cell("n_head"), cell("n_kv_head")
    dim = hidden / heads
    gated = str(row["use_gated_mlp"]) == "True"
    wide = cell("n_expanded_embd") / size
    shapes = {
        "attn_pre_proj": ((heads / size + 2 * max(1.0, kv_heads / size)) * dim, hidden),
        "attn_post_proj": (hidden, heads / size * dim),
        "mlp_up_proj": ((2 if gated else 1) * wide, hidden),
        "mlp_down_proj": (hidden, wide),
    }
    for name, (n, k) in shapes.items():
        column = f"time_stats.{name}.median"
        if row.get(column):  # Vidur leaves empty what it did not measure
            yield Call("linear", "bf16", (n, k, tokens), cell(column) * _MS, line)


def _attention(row: Row, path: Path, line: int) -> Iterator[Call]:
    def cell(name: str) -> float:
        return number(row, name, path, line)

    size = cell(_MARK)
    heads = (cell("n_q_head") / size, max(1.0, cell("n_kv_head") / size))
    shape = (*heads, cell("n_embd") / cell("n_q_head"))
    batch, cached = cell("batch_size"), cell("kv_cache_size")
    if str(row["is_prefill"]) == "True" and row["time_stats.attn_prefill.median"]:
        seconds, chunk = cell("time_stats.attn_prefill.median") * _MS, cell("prefill_chunk_size")
        found = attention_shape("prefill", shape, batch, chunk, cached)
        yield Call("prefill", "bf16", found, seconds, line)
    elif cached > 0 and row["time_stats.attn_decode.median"]:
        seconds = cell("time_stats.attn_decode.median") * _MS
        yield Call(
            "decode", "bf16", attention_shape("decode", shape, batch, cached, 0), seconds, line
        )
