"""What no device can do: points that beat its peaks are refused, not kept.

Such a point says that something was not measured: a call that had not finished, an input that came
from a cache, a clock that jumped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hermes.profile.point import Point

__all__ = ["DATASHEET_TOLERANCE", "PROBE_TOLERANCE", "Peaks", "refusal"]

DATASHEET_TOLERANCE = 1.03
"""Clocks above the datasheet's."""
PROBE_TOLERANCE = 1.3
"""Peaks that were themselves measured, in a few seconds, can be beaten by another shape."""
_KIND = {"fp16": "bf16"}
_HOST_FLOPS, _HOST_BYTES = 2e10, 1e9
"""A slow host's rates a second: what an index is built at, and what a disk gives."""


@dataclass(frozen=True, slots=True)
class Peaks:
    """What a device can do at most."""

    flops: Mapping[str, float]
    """FLOP/s by data type."""
    memory: float
    """Bytes a second from its own memory."""
    host: float = 0.0
    """Bytes a second to the host, one direction; 0 where not known."""
    tolerance: float = DATASHEET_TOLERANCE
    source: str = "datasheet"

    def least_seconds(self, point: Point) -> float:
        """Return the time below which *point* cannot be."""
        peak = self.flops.get(point.dtype) or self.flops.get(_KIND.get(point.dtype, ""), 0.0)
        compute = point.flops / peak if peak else 0.0
        bandwidth = {"memory": self.memory, "host": self.host}.get(point.bus, 0.0)
        moved = point.cold_bytes / bandwidth if bandwidth else 0.0
        return max(compute, moved)

    def work_seconds(self, point: Point) -> float:
        """Return what one call takes at peak; of the host's where the bus is not known."""
        if not point.bus:
            return point.flops / _HOST_FLOPS + point.cold_bytes / _HOST_BYTES
        peak = self.flops.get(point.dtype) or self.flops.get("bf16", 0.0)
        compute = point.flops / peak if peak else 0.0
        return compute + (point.cold_bytes / self.memory if self.memory else 0.0)

    def setup_seconds(self, point: Point) -> float:
        """Return what the work before the first call takes, about."""
        rate = self.flops.get("bf16", 0.0) if point.bus else _HOST_FLOPS
        return point.setup_flops / rate if rate else 0.0

    def raised(self, point: Point, seconds: float) -> Peaks:
        """Return measured peaks with what *point* shows; a datasheet's stay as they are."""
        if self.source == "datasheet" or seconds <= 0:
            return self
        flops = dict(self.flops)
        if point.flops and point.dtype in flops:
            flops[point.dtype] = max(flops[point.dtype], point.flops / seconds)
        rate = point.cold_bytes / seconds
        memory = max(self.memory, rate) if point.bus == "memory" else self.memory
        host = max(self.host, rate) if point.bus == "host" else self.host
        return replace(self, flops=flops, memory=memory, host=host)


def refusal(point: Point, seconds: float, peaks: Peaks) -> str:
    """Return why *seconds* cannot be the time of *point*, or an empty string."""
    least = peaks.least_seconds(point)
    if seconds * peaks.tolerance >= least:
        return ""
    return (
        f"{seconds * 1e6:.4g} us is faster than the {peaks.source} allows"
        f" ({least * 1e6:.4g} us at peak)"
    )
