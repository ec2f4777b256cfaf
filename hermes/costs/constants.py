"""The few fitted constants of the roofline, by device and data type.

They are fitted on measured operators (`benchmarks/fit_roofline.py`) and kept with their errors. A
device without a fit of its own takes that of the same chip in another package, else the general
ones; either way the result says that it is not calibrated.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

from hermes.catalog import Device

__all__ = ["GENERAL", "RooflineConstants", "find_constants"]

GENERAL = "general"

_FITTED_AS = {"fp16": "bf16", "fp32": "bf16", "int8": "fp8", "fp4": "fp8", "nvfp4": "fp8"}
_LIKE_ITSELF = frozenset({"bf16", "fp16", "fp8"})


@dataclass(frozen=True, slots=True)
class RooflineConstants:
    """What turns datasheet times into measured ones."""

    device: str
    dtype: str
    engine: str
    compute_efficiency: float
    memory_efficiency: float
    layer_overhead_us: float
    allreduce_latency_us: float
    link_efficiency: float
    sharpness: float
    """Power of the smooth maximum of compute and memory time: 1 adds them, infinity overlaps."""
    stands_for: tuple[str, ...]
    """Devices of the same chip, which borrow these constants."""
    decode_error: float
    """Median absolute relative error on models left out of the fit, for decode steps."""
    prefill_error: float
    fitted_on: str
    source: str
    calibrated: bool = True
    """Whether these were fitted on the device they are used for."""


def find_constants(device: Device, dtype: str) -> RooflineConstants:
    """Return the constants for a device that multiplies in *dtype* (a short name)."""
    wanted = _FITTED_AS.get(dtype, dtype if dtype in _LIKE_ITSELF else "bf16")
    rows = _rows()
    for kind in dict.fromkeys((wanted, "bf16")):
        own = rows.get((device.name, kind))
        if own is not None:
            return replace(own, calibrated=kind == wanted and dtype in _LIKE_ITSELF)
        for row in rows.values():
            if row.dtype == kind and device.name in row.stands_for:
                return replace(row, calibrated=False)
    general = rows.get((GENERAL, wanted)) or rows[GENERAL, "bf16"]
    return replace(general, calibrated=False)


@cache
def _rows() -> dict[tuple[str, str], RooflineConstants]:
    """Return the packaged fits by device and data type."""
    path = resources.files("hermes.costs").joinpath("data", "roofline_constants.csv")
    rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    return {(row["device"], row["dtype"]): _from_row(row) for row in rows}


def _from_row(row: dict[str, str]) -> RooflineConstants:
    """Return the constants of one row."""
    return RooflineConstants(
        device=row["device"],
        dtype=row["dtype"],
        engine=row["engine"],
        compute_efficiency=float(row["compute_efficiency"]),
        memory_efficiency=float(row["memory_efficiency"]),
        layer_overhead_us=float(row["layer_overhead_us"]),
        allreduce_latency_us=float(row["allreduce_latency_us"]),
        link_efficiency=float(row["link_efficiency"]),
        sharpness=float(row["sharpness"]),
        stands_for=tuple(row["stands_for"].split()),
        decode_error=float(row["decode_error"]),
        prefill_error=float(row["prefill_error"]),
        fitted_on=row["fitted_on"],
        source=row["source"],
    )
