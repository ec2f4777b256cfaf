"""Time of a batch of queries in an index: arithmetic, traffic, and what neither explains.

    seconds = max(compute, bytes / bandwidth) + overhead

The two sides of the maximum are returned apart, so that the traffic can share the memory with
others while the arithmetic goes on. A processor's cores search apart: `threads_per_query` of them
work on one query, and queries wait for free ones. Other devices take the batch as a whole.
"""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from hermes.catalog import Device
from hermes.catalog.indexes import Index
from hermes.costs.retrieval.constants import (
    AcceleratorConstants,
    ProcessorConstants,
    find_constants,
)
from hermes.costs.retrieval.counts import count_query
from hermes.errors import InfeasibleError

__all__ = ["SearchCost", "SearchWork"]

_NS, _US = 1e-9, 1e-6
_STORAGE_READS = 64
"""Reads of storage at once: the queue that one NVMe drive needs to be busy."""
_FLOAT_BYTES = 4
_PRODUCT_FROM = 20
"""Queries from which faiss compares all at once (`distance_compute_blas_threshold`)."""


class SearchWork(NamedTuple):
    """What one batch asks of its device."""

    compute_seconds: float
    """Of arithmetic and of waiting for single reads; takes no bandwidth from others."""
    memory_bytes: float
    """Traffic as the memory feels it: at its peak bandwidth it takes as long as it is expected to
    take, alone; reads that waste some of the bandwidth count for more than they bring."""
    overhead_seconds: float
    """Before or after both: launches, copies, storage."""


class SearchCost:
    """Cost of searching one index on one device."""

    __slots__ = ("_accelerator", "_counts", "_peak", "_processor", "calibrated", "device", "index")

    def __init__(
        self,
        index: Index,
        device: Device,
        processor: ProcessorConstants | None = None,
        accelerator: AcceleratorConstants | None = None,
    ) -> None:
        """Count the work of a query of *index* on *device*.

        Args:
            index: What is searched.
            device: What searches it.
            processor: Constants in place of the fitted ones, for a processor.
            accelerator: The same, for other devices.

        Raises:
            InfeasibleError: How many cores a processor has is not known, or a device has no peak
                for comparing floats.
        """
        if device.kind == "cpu" and not device.cores:
            message = f"how many cores {device.name} has is not known; give its number"
            raise InfeasibleError(message, "cores")
        self._peak = _peak(device)
        fitted = find_constants(device.kind)
        self._processor = (processor or fitted[0]) if device.kind == "cpu" else None
        self._accelerator = (accelerator or fitted[1]) if device.kind != "cpu" else None
        self._counts = count_query(index)
        self.index = index
        self.device = device
        self.calibrated = processor is not None or accelerator is not None

    @property
    def label(self) -> str:
        """Where the constants come from, for reports."""
        if self.calibrated:
            return "search: given constants"
        if self._processor is not None:
            return "search: fitted on other processors"
        graph = self.index.kind == "hnsw"
        return f"search: {'assumed' if graph else 'fitted on another GPU'}"

    def work(self, queries: int) -> SearchWork:
        """Return what a batch of *queries* asks of the device."""
        if queries <= 0:
            return SearchWork(0.0, 0.0, 0.0)
        if self._processor is not None:
            return self._on_processor(queries, self._processor)
        assert self._accelerator is not None
        return self._on_accelerator(queries, self._accelerator)

    def seconds(self, queries: int) -> float:
        """Return the seconds of a batch of *queries* on a device that does nothing else."""
        compute, memory, overhead = self.work(queries)
        return max(compute, memory / (self.device.memory_bandwidth_gb_per_s * 1e9)) + overhead

    # -- processors -------------------------------------------------------------------------------

    def _on_processor(self, queries: int, constants: ProcessorConstants) -> SearchWork:
        counts, cores = self._counts, self.device.cores
        threads = min(self.index.threads_per_query or cores, cores)
        rounds = ceil(queries / (cores // threads))
        compute = rounds * self._core_seconds(queries, constants) / threads
        once = _FLOAT_BYTES * self.index.dimension * counts.centroids + self._flat_bytes()
        stream = once + queries * counts.code_bytes
        scattered = queries * (counts.graph_bytes + counts.reranked_bytes)
        traffic = stream / constants.memory_efficiency + scattered / constants.random_efficiency
        return SearchWork(compute, traffic, self._storage_seconds(queries))

    def _core_seconds(self, queries: int, constants: ProcessorConstants) -> float:
        """Return the seconds of one core for one of *queries* that arrived together."""
        index, counts = self.index, self._counts
        fixed = constants.query_us + index.request_us + counts.probes * constants.probe_us
        if index.bits == 4 and index.residual:
            fixed += counts.probes * constants.residual_table_us
        lookup = constants.lookup_ns_4 if index.bits == 4 else constants.lookup_ns_8
        graph = counts.graph_vectors * constants.graph_vector_ns
        graph += counts.graph_bytes / constants.graph_gb_per_s
        if index.kind == "hnsw" and index.vector_dtype == "int8":
            graph += counts.graph_vectors * index.dimension * constants.decode_ns
        compared = self._compared_seconds(queries, constants)
        return fixed * _US + (counts.lookups * lookup + graph) * _NS + compared

    def _compared_seconds(self, queries: int, constants: ProcessorConstants) -> float:
        """Return the seconds of one core that compares a query with vectors in order.

        Where all cores work on the batch, enough queries become a product of matrices; fewer take
        at most what as many as that would.
        """
        counts, flat = self._counts, self.index.kind == "flat"
        core = self._peak / self.device.cores / (2.0 * self.index.dimension)
        in_order = counts.centroids + (counts.vectors if flat else 0.0)
        single = counts.reranked + (0.0 if flat else counts.vectors)
        apart = in_order / (core * constants.distance_efficiency)
        if not self.index.threads_per_query:
            product = in_order / (core * constants.product_efficiency)
            product += in_order * constants.pair_ns * _NS
            apart = min(apart, product * max(1.0, _PRODUCT_FROM / queries))
        return apart + single / (core * constants.distance_efficiency)

    # -- other devices ----------------------------------------------------------------------------

    def _on_accelerator(self, queries: int, constants: AcceleratorConstants) -> SearchWork:
        counts, index = self._counts, self.index
        compared = counts.centroids + counts.vectors + counts.graph_vectors + counts.reranked
        flops = 2.0 * index.dimension * compared / constants.distance_efficiency
        flops += counts.lookups * constants.lookup_flops
        compute = queries * flops / self._peak
        compute = max(compute, counts.graph_steps * constants.step_us * _US)
        pairs = counts.centroids + (counts.vectors if index.kind == "flat" else 0.0)
        each = (
            pairs * constants.pair_bytes
            + counts.table_entries * constants.table_bytes
            + counts.codes * constants.code_result_bytes
            + counts.code_bytes
            + counts.graph_bytes
            + counts.reranked_bytes
        )
        once = _FLOAT_BYTES * index.dimension * counts.centroids + self._flat_bytes()
        overhead = constants.batch_us + queries * (constants.query_us + index.request_us)
        return SearchWork(
            compute,
            (once + queries * each) / constants.memory_efficiency,
            overhead * _US + self._storage_seconds(queries),
        )

    # -- both -------------------------------------------------------------------------------------

    def _flat_bytes(self) -> int:
        """Return the bytes of vectors that all are read, once for a batch."""
        return self.index.vectors * self.index.vector_bytes if self.index.kind == "flat" else 0

    def _storage_seconds(self, queries: int) -> float:
        """Return the seconds of reading whole vectors that lie on storage."""
        if self.index.rerank_from != "storage":
            return 0.0
        rounds = ceil(queries * self.index.rerank / _STORAGE_READS)
        return rounds * self.index.storage_latency_us * _US


def _peak(device: Device) -> float:
    """Return the FLOP/s of comparing floats: in fp32, else in the narrower type that there is."""
    for dtype in ("fp32", "bf16", "fp16"):
        if dtype in device.peak_tflops:
            return device.peak_tflops[dtype] * 1e12
    known = ", ".join(sorted(device.peak_tflops))
    message = f"{device.name} cannot compare vectors (it has {known}; fp32, bf16 or fp16 is needed)"
    raise InfeasibleError(message, "device")
