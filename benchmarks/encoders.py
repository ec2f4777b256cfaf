"""Encoders against published throughput of embedders and rerankers, of low reliability.

    python benchmarks/encoders.py SHARED_DATA

prints predicted over measured tokens per second for every row of rag/embedding_throughput.csv, and
for the rerankers, whose pairs are of unknown length, the length at which prediction and report
would agree.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

from hermes.catalog import Device, find_device, find_model
from hermes.costs.encoder import EncoderCost
from hermes.scenario.device import DeviceSpec

BATCH = 32
# What ran the measurements and is not in the catalog; all recalled.
CASCADE_LAKE = DeviceSpec(
    kind="cpu",
    cores=8,
    peak_tflops={"fp32": 1.13, "int8": 4.5},  # 8 cores x 2.2 GHz x 64, and four times that
    memory_gb=64,
    memory_bandwidth_gb_per_s=47,
)
INFERENTIA2_CORE = DeviceSpec(
    kind="asic",
    peak_tflops={"fp16": 95, "bf16": 95},
    memory_gb=16,
    memory_bandwidth_gb_per_s=410,
)
RTX_5060_TI = DeviceSpec(
    peak_tflops={"fp32": 23.7, "fp16": 47.4, "bf16": 47.4},
    memory_gb=16,
    memory_bandwidth_gb_per_s=448,
)
DEVICES = {
    "GCP g2-standard-16 Cascade Lake CPU": ("cascade-lake", CASCADE_LAKE),
    "NVIDIA L4": ("l4", None),
    "AMD MI210": ("mi210", None),
    "AWS Inf2.xlarge (1 core)": ("inferentia2-core", INFERENTIA2_CORE),
}


def device_of(name: str, spec: DeviceSpec | None) -> Device:
    """Return a device of the catalog, or one described here."""
    return find_device(name, {name: spec} if spec else None)


def embedding_ratios(shared: Path, factor: float | None = None) -> dict[tuple[str, str], float]:
    """Return predicted over measured throughput by device and engine."""
    ratios = {}
    with (shared / "rag" / "embedding_throughput.csv").open(newline="") as lines:
        for row in csv.DictReader(lines):
            device = device_of(*DEVICES[row["device"]])
            dtype = "int8" if "int8" in row["backend"] else "auto"
            cost = EncoderCost(find_model(row["model"]), device, dtype, factor=factor)
            texts = int(row["requests_total"]) * int(row["sentences_per_request"])
            length = round(int(row["tokens_total"]) / texts)
            predicted = BATCH * length / cost.batch_seconds([length] * BATCH)
            ratios[device.name, row["backend"]] = predicted / float(row["tokens_per_s"])
    return ratios


def agreeing_length(cost: EncoderCost, pairs_per_s: float) -> int:
    """Return the tokens of a pair at which the predicted throughput falls to *pairs_per_s*."""
    for length in range(4, 2048):
        if BATCH / cost.batch_seconds([length] * BATCH) < pairs_per_s:
            return length
    return 2048


def report_rerankers(shared: Path) -> None:
    """Print what lengths the published rates of rerankers would mean."""
    device = device_of("rtx-5060-ti", RTX_5060_TI)
    with (shared / "rag" / "reranker_throughput.csv").open(newline="") as lines:
        for row in csv.DictReader(lines):
            if row["unit"] == "pairs/s":
                cost = EncoderCost(find_model(row["model"]), device)
                length = agreeing_length(cost, float(row["value"]))
                print(f"{row['model']:45} {row['value']:>5} pairs/s: agrees at {length} tokens")
    cost = EncoderCost(find_model("bge-reranker-v2-m3"), find_device("xeon-8480p"))
    milliseconds = cost.batch_seconds([512] * 8) * 1e3
    print(f"bge-reranker-v2-m3, 8 pairs of 512 on Xeon 8480+: {milliseconds:.0f} ms; 150 reported")


def main(arguments: Sequence[str]) -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path, help="folder of measured data")
    options = parser.parse_args(arguments)
    for (device, engine), ratio in embedding_ratios(options.shared).items():
        print(f"{device:18} {engine:32} predicted / measured {ratio:5.2f}")
    report_rerankers(options.shared)


if __name__ == "__main__":
    main(sys.argv[1:])
