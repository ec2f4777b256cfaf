"""LLMServingSim's profiles: a folder with `dense.csv`, `attention.csv` and `per_sequence.csv`.

The files name layers, not shapes: those are the model's. Mixed batches are left out of attention,
and so is what is no matrix product.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hermes.catalog import Model
from hermes.costs.tables.calls import Call
from hermes.costs.tables.frame import number, read_rows
from hermes.costs.tables.own import attention_shape

__all__ = ["is_llmservingsim", "read_llmservingsim"]

_US = 1e-6


def is_llmservingsim(folder: Path) -> bool:
    """Return whether a folder holds such a profile."""
    return (folder / "dense.csv").is_file() and (folder / "per_sequence.csv").is_file()


def read_llmservingsim(folder: Path, model: Model, size: int) -> Iterator[tuple[str, Call]]:
    """Yield the calls of a profile of *model* on groups of *size* devices."""
    hidden, dim = model.hidden_size, model.head_dim
    heads, kv_heads = model.num_attention_heads / size, max(1.0, model.num_key_value_heads / size)
    wide = model.intermediate_size / size
    shapes = {
        "qkv_proj": ((heads + 2 * kv_heads) * dim, hidden),
        "o_proj": (hidden, heads * dim),
        "gate_up_proj": (2 * wide, hidden),
        "down_proj": (hidden, wide),
        "lm_head": (model.vocab_size / size, hidden),
    }
    for name, count in (("dense.csv", "tokens"), ("per_sequence.csv", "sequences")):
        path = folder / name
        for line, row in read_rows(path):
            if row.get("layer") in shapes:
                shape = (*shapes[str(row["layer"])], number(row, count, path, line))
                yield (
                    "",
                    Call("linear", "bf16", shape, number(row, "time_us", path, line) * _US, line),
                )
    yield from _attention(folder, (heads, kv_heads, dim))


def _attention(folder: Path, heads: tuple[float, float, float]) -> Iterator[tuple[str, Call]]:
    for path in (folder / "attention.csv", folder / "attention.csv.gz"):
        if not path.is_file():
            continue
        for line, row in read_rows(path):
            chunk, prefix, decodes, cached, time = (
                number(row, name, path, line)
                for name in ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us")
            )
            if chunk and not decodes:
                shape = attention_shape("prefill", heads, 1, chunk, prefix)
                yield "", Call("prefill", "bf16", shape, time * _US, line)
            elif decodes and not chunk and cached:
                shape = attention_shape("decode", heads, decodes, cached, 0)
                yield "", Call("decode", "bf16", shape, time * _US, line)
