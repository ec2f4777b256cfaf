"""KV memory tiers: where the KV of prompts is kept beside the devices' own memory.

A tier is a kind of store, `shared_by` the replicas of each node, of each rack, or all, or private
to each replica; every such group has an instance of its own.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hermes.scenario.base import NonNegative, Positive, Spec

__all__ = ["KvFetch", "KvLoad", "KvWriteBack", "SharedBy", "TierSpec"]

SharedBy = Literal["replica", "node", "rack", "all"]
KvFetch = Literal["always", "never", "cheaper"]
KvLoad = Literal["whole", "layerwise"]
KvWriteBack = Literal["finish", "evict", "never"]


class TierSpec(Spec):
    """One tier of the KV memory hierarchy."""

    medium: str | None = None
    """A medium of the catalog, for the bandwidth and latency not stated here: `ddr5-host`,
    `nvme-pcie4`, `dram-rdma-8x400g`, ...; `hermes catalog media` lists them."""
    shared_by: SharedBy = "node"
    """Who shares an instance: a `replica` alone, those of a `node` or a `rack`, or `all`."""
    capacity_gb: Positive | None = None
    """Of one instance; default: without limit."""
    bandwidth_gb_per_s: Positive | None = None
    """Of one instance, reads and writes together; default: the medium's."""
    stream_gb_per_s: Positive | None = None
    """Most that one transfer gets of it, where an instance is many devices side by side; default:
    all of it."""
    latency_us: NonNegative | None = None
    """Before the first byte; default: the medium's, and 0 without one."""
    link_gb_per_s: Positive | None = None
    """Of each replica's own link to its instance, each way, instead of the way over host and
    network of the topology."""
    link_latency_us: NonNegative = 0.0
    """Of that link; of no effect without `link_gb_per_s`."""
    transfer: Literal["streamed", "staged"] = "streamed"
    """Bytes cross medium and links at once, or are read out in full before they are sent on."""
    eviction: Annotated[str, Field(min_length=1)] = "lru"
    """Who leaves a full instance: `lru` or `s3fifo`, which counts how often blocks are used; or a
    class of your own, as `package.module:Class`."""
