"""Clients that serve no language model: encoders, vector search, CPU workers, outside services."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hermes.scenario.base import NonNegative, Positive, PositiveInt, Spec
from hermes.scenario.clients.llm import Dtype
from hermes.scenario.index import IndexField

__all__ = ["EncoderClientSpec", "SearchClientSpec", "ToolClientSpec", "WorkerClientSpec"]


class _HardwareClient(Spec):
    """What clients with hardware of their own have."""

    device: str
    """A device of the catalog, or one described under `devices` in this file."""
    replicas: PositiveInt = 1
    """Instances in the pool."""
    on: str | None = None
    """Another client whose devices this one shares, replica by replica: they take turns at
    computing and share the memory's bandwidth, and the devices are paid once. `device` and
    `replicas` must be the same. Default: devices of its own."""
    usd_per_device_hour: Positive | None = None
    """Price of one device for one hour; default: the catalog's."""
    grid_g_co2_per_kwh: NonNegative | None = None
    """Carbon intensity of the power where it stands; default: the scenario's."""


class EncoderClientSpec(_HardwareClient):
    """Encoders that embed, rerank, or turn images into tokens, a batch at a time."""

    serves: Annotated[
        tuple[Literal["embed", "rerank", "encode"], ...], Field(min_length=1, strict=False)
    ]
    """Which stages it serves: `embed`, `rerank`, `encode`, or several of them."""
    models: Annotated[tuple[str, ...], Field(min_length=1, strict=False)]
    """Encoders it holds: Hugging Face ids, or their last part in any case."""
    tensor_parallel_size: PositiveInt = 1
    """Devices a replica spreads every layer over."""
    dtype: Dtype = "auto"
    """Number format of the weights and of the matrix products; `auto`: as published."""
    max_num_seqs: PositiveInt = 256
    """Most texts in one batch."""
    max_num_batched_tokens: PositiveInt = 8192
    """Most tokens in one batch; a longer text is a batch of its own."""


class SearchClientSpec(_HardwareClient):
    """Vector search in an index that every replica holds whole."""

    serves: Annotated[tuple[Literal["retrieve"], ...], Field(min_length=1, strict=False)]
    """Which stage it serves: `retrieve`."""
    index: IndexField
    """An index of the catalog, or one described in place."""
    max_batch_size: PositiveInt = 64
    """Most queries in one batch."""


class WorkerClientSpec(_HardwareClient):
    """CPU work, one request on each worker."""

    serves: Annotated[tuple[Literal["process"], ...], Field(min_length=1, strict=False)]
    """Which stage it serves: `process`."""
    workers: PositiveInt = 8
    """Requests a replica works on at once: its cores, or processes."""


class ToolClientSpec(Spec):
    """A service outside the deployment, which costs time but no device."""

    serves: Annotated[tuple[Literal["tool"], ...], Field(min_length=1, strict=False)]
    """Which stage it serves: `tool`."""
    max_concurrency: PositiveInt = 64
    """Calls under way at once; the others wait."""
