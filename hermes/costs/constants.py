"""The fitted constants of the roofline, by device, kind of operator and data type.

They are fitted on measured operators (`benchmarks/fit_roofline.py`) and kept with their errors. A
device without a fit of its own takes that of the same chip in another package, else the general
one; either way the result says that it is not calibrated.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib import resources

from hermes.catalog import Device
from hermes.costs.law import Law

__all__ = ["GENERAL", "Laws", "find_laws", "latent_dtype", "read_laws"]

GENERAL = "general"

_SAME_CHIP = {
    "h100-sxm": ("h100-pcie", "h100-nvl", "h800-sxm", "h20-sxm", "h200-sxm", "gh200-96"),
    "a100-sxm-80": ("a100-sxm-40", "a100-pcie-40", "a100-pcie-80", "a800-sxm-80", "a30"),
    "b200-sxm": ("b300-sxm", "gb200", "gb300"),
    "l40s": ("l4", "rtx-4090"),
}
_CHIP = {other: chip for chip, others in _SAME_CHIP.items() for other in others} | {
    "gh200-144": "h100-sxm"
}
_FITTED_AS = {
    "fp16": ("bf16",),
    "fp32": ("bf16",),
    "int8": ("fp8", "bf16"),
    "fp8": ("bf16",),
    "fp8_block": ("fp8", "bf16"),
    "fp4": ("nvfp4", "fp8", "bf16"),
    "nvfp4": ("fp8", "bf16"),
    "int4": ("bf16",),
    "mxfp4": ("bf16",),
}
_GROUPS = ("8", "4", "2")  # devices that reduce together, where others name a data type
_EXACT_SUBSTITUTES = {"fp16": "bf16"}  # the same units at the same rate
_ASSUMED = {
    # NVIDIA's database does not measure these; its own datasheets assume as much
    "elementwise": {"memory_efficiency": 0.8, "overhead_us": 3.0},
    # of the one published table of gated delta rule kernels (alibaba/InferSim, H20)
    "recurrence": {"memory_efficiency": 0.8, "overhead_us": 10.0},
}
_NUMBERS = frozenset(field.name for field in fields(Law) if field.type == "float")


@dataclass(frozen=True, slots=True)
class Laws:
    """The laws of one device and engine, by operator and data type."""

    device: Device
    table: Mapping[tuple[str, str, str], Law]
    launch: float = 1.0
    """Factor on the fixed time of every operator; see `engines`."""
    deep_gemm: bool = False
    """Whether scales per block cost linear layers nothing; see `engines`."""

    def find(self, operator: str, dtype: str) -> Law:
        """Return the law of an operator on data in *dtype*, the nearest known one otherwise."""
        law = self._nearest(operator, self._multiplied(operator, dtype))
        if self.device.kind == "cpu":
            law = replace(law, wave=0.0)  # the tiles are those of large GPUs
        if self.launch != 1.0:
            law = replace(law, overhead_us=self.launch * law.overhead_us)
        return law

    def _multiplied(self, operator: str, dtype: str) -> str:
        """Return the data type as the engine multiplies it; see `latent_dtype` for modules."""
        if not self.deep_gemm:
            return dtype
        if operator in {"linear", "experts"} and dtype == "fp8_block":
            return "fp8"
        return dtype.removeprefix("fp8_block ") if operator.startswith("mla_") else dtype

    def _nearest(self, operator: str, dtype: str) -> Law:
        if operator in _ASSUMED:
            return _assumed(operator)
        if operator == "linear_odd":
            aligned = self._nearest("linear", dtype)
            odd = self.table.get((aligned.device, operator, aligned.dtype))
            return aligned if odd is None else replace(odd, calibrated=aligned.calibrated)
        cache = dtype.rpartition(" ")[2]  # beside the weights, in modules
        others = _GROUPS if operator == "allreduce" else _FITTED_AS.get(cache, ())
        kinds = dict.fromkeys((dtype, cache, *others))
        chip = _CHIP.get(self.device.name, self.device.name)
        for name in (self.device.name, chip, GENERAL):
            for kind in kinds:
                law = self.table.get((name, operator, kind))
                if law is not None:
                    own = name == self.device.name
                    same = kind in {dtype, cache, _EXACT_SUBSTITUTES.get(cache), "any"}
                    return replace(law, calibrated=own and same)
        return self.table[GENERAL, operator, "bf16"]


def latent_dtype(weights: str, cache: str) -> str:
    """Return what tells laws of latent attention apart.

    They are fitted on modules, less the projections. Weights in 8 or 4 bits have laws of their own:
    alone, their products were measured to start more slowly than they do in a module.
    """
    return f"{weights} {cache}" if weights in {"fp8_block", "nvfp4"} else cache


def find_laws(device: Device, launch: float = 1.0, deep_gemm: bool = False) -> Laws:
    """Return the laws kept for a device, as an engine meets them; see `engines`."""
    return Laws(device, _packaged(), launch, deep_gemm)


def read_laws(text: str) -> dict[tuple[str, str, str], Law]:
    """Read a table of laws: CSV with the fields of `Law` as columns."""
    rows = csv.DictReader(text.splitlines())
    return {(row["device"], row["operator"], row["dtype"]): _from_row(row) for row in rows}


def _assumed(operator: str) -> Law:
    values = _ASSUMED[operator]
    return Law(
        device=GENERAL,
        engine="any",
        operator=operator,
        dtype="bf16",
        compute_efficiency=1.0,
        memory_efficiency=values["memory_efficiency"],
        sharpness=1.0,
        overhead_us=values["overhead_us"],
        wave=0.0,
        extra=0.0,
        source="assumed",
    )


@cache
def _packaged() -> dict[tuple[str, str, str], Law]:
    path = resources.files("hermes.costs").joinpath("data", "laws.csv")
    return read_laws(path.read_text(encoding="utf-8"))


def _from_row(row: dict[str, str]) -> Law:
    values = {name: float(cell) if name in _NUMBERS else cell for name, cell in row.items()}
    return Law(**values)  # type: ignore[arg-type]  # the table's columns are the fields
