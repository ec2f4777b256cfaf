"""Fit the laws of the roofline on measured operators and print how far off they are.

    python benchmarks/fit_roofline.py FOLDER [--write FILE]

FOLDER holds one folder a device in the layout of NVIDIA's aiconfigurator database (`h100_sxm/gemm/
vllm/...`). A law is fitted on two thirds of the shapes of its operator and its error measured on
the rest; a general law is fitted on all devices and its error measured on each device left out.
`accuracy.py` says what that means for whole steps. Needs scipy, which nothing else here does.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from operator_rows import FAMILIES, Rows, read_latent_rows, read_rows

from hermes.catalog import Device, find_device
from hermes.costs.chip import Chip

FOLDERS = {
    "h100_sxm": "h100-sxm",
    "a100_sxm": "a100-sxm-80",
    "b200_sxm": "b200-sxm",
    "l40s": "l40s",
}
SOURCE = "github:ai-dynamo/aiconfigurator@095f58a51c4c systems/data (Apache-2.0)"
COLUMNS = [
    "device",
    "engine",
    "operator",
    "dtype",
    "compute_efficiency",
    "memory_efficiency",
    "sharpness",
    "overhead_us",
    "wave",
    "extra",
    "skew",
    "small_error",
    "large_error",
    "fitted_on",
    "source",
]
START = (0.6, 0.75, 2.0, 8.0, 0.5, 1.0, 1.5)
LOW = (0.03, 0.05, 1.0, 0.01, 1e-3, 1e-3, 1e-3)
HIGH = (1.3, 1.3, 12.0, 400.0, 60.0, 60.0, 6.0)
SMALL = 64


@dataclass(frozen=True)
class Sample:
    """Measured calls of one kind of operator on one device."""

    device: str
    rows: Rows
    choice: bool = False
    """Whether there are two ways to do it, of which the faster is taken; see `hermes.costs.law`."""

    def predicted(self, constants: Sequence[float]) -> np.ndarray:
        """Return the seconds that the constants predict."""
        ec, em, p, overhead, wave, extra, skew = constants
        amounts = self.rows.amounts(skew)
        if p < 0:
            turns = amounts.memory / em + extra * amounts.extra
            return ((amounts.compute / ec) ** p + turns**p) ** (1 / p) + overhead * 1e-6
        bound = (amounts.compute / ec + wave * amounts.wave) ** p + (amounts.memory / em) ** p
        return bound ** (1 / p) + overhead * 1e-6 + extra * amounts.extra

    def part(self, chosen: np.ndarray) -> Sample:
        """Return some of the calls."""
        return Sample(self.device, self.rows.part(chosen), self.choice)

    def errors(self, constants: Sequence[float]) -> tuple[float, float, float]:
        """Return the median absolute relative error: all, up to 64 tokens, above."""
        error = np.abs(self.predicted(constants) / self.rows.seconds - 1)
        small = self.rows.tokens <= SMALL
        return tuple(
            float(np.median(error[chosen])) if chosen.any() else float(np.median(error))
            for chosen in (np.ones_like(small), small, ~small)
        )


def fit(samples: Sequence[Sample]) -> np.ndarray:
    """Return the constants of least absolute relative error, each device weighing alike."""
    from scipy.optimize import least_squares

    sign = np.ones(len(START))
    sign[2] = -1 if samples[0].choice else 1  # the power

    def residuals(logs: np.ndarray) -> np.ndarray:
        constants = sign * np.exp(logs)
        return np.concatenate(
            [
                np.log(each.predicted(constants) / each.rows.seconds)
                / np.sqrt(len(each.rows.seconds))
                for each in samples
            ]
        )

    low, high = np.log(LOW), np.log(HIGH)
    scale = 0.08 / np.sqrt(np.mean([len(each.rows.seconds) for each in samples]))
    found = least_squares(
        residuals, np.log(START), bounds=(low, high), loss="soft_l1", f_scale=scale
    )
    return sign * np.exp(found.x)


def row(
    device: str,
    kind: tuple[str, str],
    constants: Sequence[float],
    errors: Sequence[float],
    fitted_on: str,
) -> dict[str, object]:
    """Return the row of the table of laws."""
    names = COLUMNS[4:11]
    return {
        "device": device,
        "engine": "vllm",
        "operator": kind[0],
        "dtype": kind[1],
        **{name: f"{value:.4g}" for name, value in zip(names, constants, strict=True)},
        "small_error": f"{errors[1]:.3f}",
        "large_error": f"{errors[2]:.3f}",
        "fitted_on": fitted_on,
        "source": SOURCE,
    }


def show(name: str, constants: Sequence[float], errors: Sequence[float]) -> None:
    values = "  ".join(f"{value:8.3g}" for value in constants)
    print(f"  {name:<14} {values}   {errors[0]:6.1%} {errors[1]:6.1%} {errors[2]:6.1%}")


def fit_kind(kind: tuple[str, str], samples: list[Sample]) -> list[dict[str, object]]:
    """Fit one law for each device, and the general one."""
    print(f"{kind[0]} {kind[1]}: constants, held-out error: all, <= 64 tokens, above")
    rows = []
    for sample in samples:
        shapes = sample.rows.shape_group(3)
        constants = fit([sample.part(shapes != 0)])
        errors = sample.part(shapes == 0).errors(constants)
        show(sample.device, constants, errors)
        count = int((shapes != 0).sum())
        rows.append(row(sample.device, kind, constants, errors, f"{count} calls"))
    if " " in kind[1]:
        return rows  # of modules with such weights no general law holds: 28 to 83 % off
    constants = fit(samples)
    left_out = []
    for sample in samples:
        others = [other for other in samples if other is not sample]
        if others:
            left_out.append(sample.errors(fit(others)))
    errors = np.mean(left_out, axis=0) if left_out else (0.3, 0.3, 0.3)
    show("general", constants, errors)
    on = ", ".join(sample.device for sample in samples)
    rows.append(row("general", kind, constants, errors, on))
    return rows


def measure(folder: Path) -> dict[tuple[str, str], list[Sample]]:
    """Return the measured calls by operator and data type."""
    found: dict[tuple[str, str], list[Sample]] = {}
    for name, device_name in FOLDERS.items():
        device: Device = find_device(device_name)
        if not (folder / name).is_dir():
            continue
        for kind, rows in read_rows(folder / name, device):
            sample = Sample(device_name, rows, choice=kind[0] == "allreduce")
            found.setdefault(kind, []).append(sample)
    return found


def measure_latent(
    folder: Path, laws: list[dict[str, object]]
) -> dict[tuple[str, str], list[Sample]]:
    """Return the attention of latent-attention modules, the fitted projections taken off."""
    fitted = {
        (row["device"], row["dtype"]): [float(str(row[name])) for name in COLUMNS[4:10]]
        for row in laws
        if row["operator"] == "linear"
    }
    found: dict[tuple[str, str], list[Sample]] = {}
    for name, device_name in FOLDERS.items():
        device = find_device(device_name)

        def linear(
            dtype: str, m: np.ndarray, n: float, k: float, device: Device = device
        ) -> np.ndarray:
            ec, em, p, overhead, wave, extra = fitted[device.name, dtype]
            work = Chip(device).linear(m, n, k, dtype.removesuffix("_block"))
            bound = (work.compute / ec + wave * work.wave) ** p + (work.memory / em) ** p
            return bound ** (1 / p) + overhead * 1e-6 + extra * work.extra

        for kind, rows in read_latent_rows(folder / name, device, linear):
            found.setdefault(kind, []).append(Sample(device_name, rows))
    return found


def main() -> None:
    """Fit every kind of operator, print the errors, and write the table where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the database: one folder a device")
    parser.add_argument("--write", type=Path, help="the table of laws to write")
    arguments = parser.parse_args()
    measured = measure(arguments.folder)
    rows = []
    for family in FAMILIES:
        for kind, samples in measured.items():
            if kind[0] == family:
                rows += fit_kind(kind, samples)
        if family == "linear":
            measured |= measure_latent(arguments.folder, rows)
    with arguments.write.open("w", newline="") if arguments.write else sys.stdout as out:
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
