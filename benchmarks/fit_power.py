"""Fit the power of a busy device on measured averages, and print how far off it is.

    python benchmarks/fit_power.py SHARED_DATA

Uses the power file of Argonne's LLM-Inference-Bench (static batches, average power of the run).
Constants are fitted on one device at a time and tried on the others.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from hermes.catalog import find_device, find_model
from hermes.costs.energy import IDLE, PoolWork, compute_share

DEVICES = {
    "Nvidia A100 GPU": "a100-sxm-40",
    "Nvidia H100 GPU": "h100-sxm",
}


def rows(path: Path) -> list[tuple[str, float, float]]:
    """Return the device, its share of peak arithmetic, and that of its TDP."""
    import pandas as pd

    found = []
    table = pd.read_csv(path)
    for row in table[table.Hardware.isin(DEVICES)].itertuples():
        device, model = find_device(DEVICES[row.Hardware]), find_model(row.Model)
        length, batch = row._5, row._6
        work = PoolWork(
            model=model,
            device=device,
            dtype="bf16",
            tensor_parallel_size=1,
            replicas=1,
            seconds=row.Latency,
            busy_seconds=row.Latency,
            tokens=2 * batch * length,
        )
        power = row.avg_power / 1e3 / (device.power_w or 1.0)
        found.append((row.Hardware, compute_share(work), power))
    return found


def fit(found: list[tuple[str, float, float]]) -> np.ndarray:
    """Return what being busy and computing add, idle power given."""
    power = np.array([row[2] for row in found])
    return np.linalg.lstsq(design(found) / power[:, None], 1 - IDLE / power, rcond=None)[0]


def design(found: list[tuple[str, float, float]]) -> np.ndarray:
    """Return one, and the share of peak arithmetic."""
    return np.array([(1.0, row[1]) for row in found])


def error(factors: np.ndarray, found: list[tuple[str, float, float]]) -> float:
    """Return the median absolute relative error."""
    power = np.array([row[2] for row in found])
    return float(np.median(np.abs(np.minimum(1.0, IDLE + design(found) @ factors) / power - 1)))


def main() -> None:
    """Fit on all devices, and on each without one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder / "e2e" / "argonne_llm_inference_bench"
    found = rows(folder / "power_results_A100_H100.csv")
    factors = fit(found)
    shown = "  ".join(
        f"{name} {x:.3f}" for name, x in zip(("busy", "compute"), factors, strict=True)
    )
    print(f"{shown}  error {error(factors, found):.1%}")
    for device in DEVICES:
        rest = [row for row in found if row[0] != device]
        own = [row for row in found if row[0] == device]
        print(f"left out {device}: error {error(fit(rest), own):.1%}")


if __name__ == "__main__":
    main()
