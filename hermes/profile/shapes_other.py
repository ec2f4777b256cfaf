"""Points of everything else: element-wise passes, sampling, encoders, copies, storage, indexes."""

from __future__ import annotations

from collections.abc import Sequence

from hermes.catalog import Model, find_model
from hermes.profile.grid import coarse_first, powers, product
from hermes.profile.point import Point, point
from hermes.profile.reach import Reach
from hermes.profile.shapes_step import each_pass

__all__ = [
    "copy_points",
    "elementwise_points",
    "encoder_points",
    "sampling_points",
    "search_points",
    "storage_points",
]

_BYTES = 2.0
_DIMENSIONS, _CODE_BYTES, _TOP_K = 128, 16, 10
_PASSES = 10  # over the vectors, to train and to fill an index
_DEFAULT_ENCODER = "e5-base"
_DRAWN = 100.0  # arithmetic of a random weight


def elementwise_points(models: Sequence[Model], reach: Reach) -> list[Point]:
    """Return norms with residual sums, activations and rotary embeddings of the models."""
    groups = list(
        dict.fromkeys(
            (each.kind, round(each.width))
            for operators in each_pass(models, reach)
            for each in operators.elementwise
        )
    )
    return [
        point(kind, "bf16", tokens=tokens, width=width)
        for (kind, width), (tokens,) in product(groups, powers(1, reach.tokens))
    ]


def sampling_points(models: Sequence[Model], reach: Reach) -> list[Point]:
    """Return look-ups of token embeddings, and greedy sampling over the vocabulary."""
    passes = each_pass(models, reach)
    widths = dict.fromkeys(round(each.head.k) for each in passes)
    vocabularies = dict.fromkeys(round(each.head.n) for each in passes)
    groups = [("sampling", n) for n in vocabularies]
    groups += [("embedding", width) for width in widths]
    return [
        point("embedding", "bf16", tokens=tokens, width=size)
        if operator == "embedding"
        else point("sampling", "bf16", tokens=tokens, n=size)
        for (operator, size), (tokens,) in product(groups, powers(1, reach.tokens))
        if operator == "embedding" or tokens <= reach.sequences
    ]


def encoder_points(models: Sequence[Model], reach: Reach) -> list[Point]:
    """Return whole passes of encoders over batches of texts."""
    encoders = [model for model in models if not model.causal] or [find_model(_DEFAULT_ENCODER)]
    batches = powers(1, 64 if reach.kind == "gpu" else 4)
    return [
        _encoder(model, batch, length)
        for model, (batch, length) in product(encoders, batches, powers(32, 512))
    ]


def _encoder(model: Model, batch: int, length: int) -> Point:
    hidden, width = model.hidden_size, model.intermediate_size
    weights = model.num_hidden_layers * (4 * hidden * hidden + 2 * hidden * width)
    return point(
        "encoder",
        "bf16",
        2.0 * batch * length * weights,
        weights * _BYTES,
        setup_flops=_DRAWN * weights,
        batch=batch,
        length=length,
        layers=model.num_hidden_layers,
        hidden=hidden,
        width=width,
        heads=model.num_attention_heads,
    )


def copy_points(models: Sequence[Model], reach: Reach) -> list[Point]:
    """Return copies inside the device's memory and between it and the host's, by size."""
    del models
    sizes = powers(2**12, reach.copy_bytes)
    found = []
    for _, size in coarse_first(sizes):
        found.append(point("device_to_device", "int8", 0.0, 2.0 * size, bytes=size))
        if reach.kind == "gpu":
            found += [
                point(operator, "int8", 0.0, float(size), "host", bytes=size)
                for operator in ("host_to_device", "device_to_host")
            ]
    return found


def storage_points(models: Sequence[Model], reach: Reach) -> list[Point]:
    """Return reads of the host's memory and of the disk, by size."""
    del models
    return [
        point(operator, "int8", 0.0, float(size), "", bytes=size)
        for _, size in coarse_first(powers(2**16, reach.copy_bytes))
        for operator in ("host_read", "disk_read")
    ]


def search_points(models: Sequence[Model], reach: Reach) -> list[Point]:
    """Return searches of product-quantized inverted lists."""
    del models
    return [
        _search(vectors, batch, probes)
        for vectors, (batch, probes) in product(reach.vectors, powers(1, 64), powers(1, 32))
    ]


def _search(vectors: int, batch: int, probes: int) -> Point:
    lists = max(64, 2 ** (round(vectors**0.5).bit_length() - 1))
    coded = 256  # centroids of a byte, which every part of a vector is compared with
    return point(
        "search",
        "int8",
        bus="",
        setup_flops=_PASSES * 2.0 * vectors * (lists + coded) * _DIMENSIONS,
        batch=batch,
        vectors=vectors,
        dimensions=_DIMENSIONS,
        lists=lists,
        probes=probes,
        code_bytes=_CODE_BYTES,
        top_k=_TOP_K,
    )
