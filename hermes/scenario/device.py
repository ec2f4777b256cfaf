"""A user's own device: the block under `devices` that describes hardware the catalog lacks.

The key of the block is the device's name. Three fields are needed; the rest have the values of a
single accelerator in a PCIe 4 slot.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hermes.scenario.base import NonNegative, Positive, PositiveInt, Spec

__all__ = ["DeviceKind", "DeviceSpec", "PeakDtype"]

DeviceKind = Literal["gpu", "tpu", "asic", "cpu"]
PeakDtype = Literal["fp32", "fp16", "bf16", "fp8", "int8", "fp4"]


class DeviceSpec(Spec):
    """One device as its datasheet describes it."""

    peak_tflops: Annotated[dict[PeakDtype, Positive], Field(min_length=1)]
    """Dense peak of each data type in TFLOP/s (not the doubled figure for sparsity)."""
    memory_gb: Positive
    """Device memory as vendors count it (80 for an H100)."""
    memory_bandwidth_gb_per_s: Positive
    """Peak device memory bandwidth in GB/s."""
    link_bandwidth_gb_per_s: NonNegative = 0.0
    """Scale-up bandwidth (NVLink, xGMI, ICI) in one direction, all links together; 0 for none."""
    link_domain: PositiveInt = 8
    """Devices that reach one another over the scale-up links."""
    host_bandwidth_gb_per_s: Positive = 31.0
    """Bandwidth to the host in one direction."""
    usable_memory_fraction: Annotated[float, Field(gt=0, le=1)] = 0.985
    """Share of the memory that the driver leaves to programs."""
    kind: DeviceKind = "gpu"
    """What sort of device this is."""
    cores: PositiveInt | None = None
    """Cores of a processor, which searching an index needs to know."""
    vendor: str = ""
    """Who makes it."""
    power_w: Positive | None = None
    """Rated power of one device in watts."""
    usd_per_hour: NonNegative | None = None
    """Price of one device for one hour in US dollars."""
    source: str = "the scenario"
    """Where these figures come from."""
