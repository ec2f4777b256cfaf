"""Search against measurements: faiss on GPUs and CPUs, and graphs in vector databases.

    python benchmarks/retrieval.py SHARED_DATA [--fit]

prints, for every set of runs, the median and 90th percentile of |predicted / measured - 1| and the
median ratio; with --fit also the constants that fit best, and the error on sets left out.
SHARED_DATA/rag holds faiss_ivf_gpu.csv, bigann/t1.csv and vectordbbench/results.shared.csv.gz.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hermes.catalog import Device, find_device
from hermes.catalog.indexes import find_index
from hermes.costs.retrieval import SearchCost
from hermes.costs.retrieval.constants import (
    AcceleratorConstants,
    ProcessorConstants,
    find_constants,
)
from hermes.scenario.device import DeviceSpec
from hermes.scenario.index import IndexSpec

BATCH = 10_000
# Time of a core in runs on 1M vectors, continued to no candidates at all.
REQUEST_US = {"Milvus": 700.0, "OpenSearch": 2200.0, "ElasticCloud": 950.0}
# What ran the measurements; none is in the catalog.
TITAN_X = DeviceSpec(
    peak_tflops={"fp32": 6.6},
    memory_gb=12,
    memory_bandwidth_gb_per_s=336.5,
    source="NVIDIA GeForce GTX Titan X (Maxwell): 3072 lanes at 1075 MHz, recalled",
)
F32S_V2 = DeviceSpec(
    kind="cpu",
    cores=16,
    peak_tflops={"fp32": 2.76},
    memory_gb=64,
    memory_bandwidth_gb_per_s=128,
    source="Azure F32s_v2: 32 threads, 16 cores at 2.7 GHz x 64, six DDR4-2666 channels, recalled",
)


@dataclass(frozen=True)
class Run:
    """One measured configuration."""

    group: str
    index: IndexSpec
    device: Device
    queries: int
    seconds: float

    def predicted(self, constants: object = None) -> float:
        """Return the seconds that the cost model gives, with *constants* in place of its own."""
        processor = constants if isinstance(constants, ProcessorConstants) else None
        accelerator = constants if isinstance(constants, AcceleratorConstants) else None
        cost = SearchCost(find_index(self.index), self.device, processor, accelerator)
        return cost.seconds(self.queries)


def own(name: str, spec: DeviceSpec) -> Device:
    """Return a device that the catalog lacks."""
    return find_device(name, {name: spec})


def gpu_runs(shared: Path) -> list[Run]:
    """Return faiss's own benchmark on GPUs.

    Four GPUs are two copies of two halves (`-R 2 -ngpu 4` in faiss's benchs/README.md), so each
    answers half of the queries on half of the vectors.
    """
    shapes = {
        ("SIFT1M", "IVF4096,PQ64"): ("ivfpq", 128, 10**6, 4096, 64),
        ("SIFT1M", "IVF16384,Flat"): ("ivfflat", 128, 10**6, 16384, None),
        ("SIFT1B", "OPQ8_32,IVF262144,PQ8"): ("ivfpq", 32, 10**9, 262144, 8),
        ("Deep1B", "OPQ20_80,IVF262144,PQ20"): ("ivfpq", 80, 10**9, 262144, 20),
    }
    titan = own("titan-x", TITAN_X)
    flat = IndexSpec(kind="flat", dimension=128, vectors=10**6)
    runs = [Run("SIFT1M Flat, Titan X", flat, titan, BATCH, 0.742)]  # benchs/README.md, k=16
    with (shared / "rag" / "faiss_ivf_gpu.csv").open(newline="") as lines:
        for row in csv.DictReader(lines):
            kind, dimension, vectors, lists, codes = shapes[row["dataset"], row["index"]]
            halves = 2 if row["hardware"].startswith("4x") else 1
            index = IndexSpec(
                kind=kind,
                dimension=dimension,
                vectors=vectors // halves,
                n_centroids=lists,
                n_probe=int(row["nprobe"]),
                **({"sub_quantizers": codes} if codes else {}),
            )
            group = f"{row['dataset']} {row['index']}, Titan X"
            seconds = float(row["total_time_s"])
            runs.append(Run(group, index, titan, BATCH // halves, seconds))
    return runs


def cpu_runs(shared: Path) -> list[Run]:
    """Return the billion-scale track in memory: IVF-PQ with a graph of centroids, 4-bit codes.

    The vectors are rotated to 128 dimensions; the queries of a run are taken as one batch.
    """
    pattern = re.compile(r"FaissIVFPQ\(nprobe=(\d+),\s*(?:quantizer_)?efSearch=(\d+)\)")
    device, runs = own("f32s-v2", F32S_V2), []
    with (shared / "rag" / "bigann" / "t1.csv").open(newline="") as lines:
        for row in csv.DictReader(lines):
            found = pattern.match(row["parameters"])
            known = row["algorithm"] in {"faiss-t1", "team11"} and row["dataset"].endswith("1B")
            if not (found and known) or row["dataset"].startswith("text2image"):
                continue  # text2image has codes of another length
            index = IndexSpec(
                kind="ivfpq",
                dimension=128,
                vectors=10**9,
                n_centroids=2**20,
                n_probe=int(found[1]),
                coarse="hnsw",
                coarse_ef_search=int(found[2]),
                sub_quantizers=64,
                bits=4,
                threads_per_query=1,
            )
            group = f"{row['algorithm']} {row['dataset']} on F32s_v2"
            runs.append(Run(group, index, device, BATCH, BATCH / float(row["qps"])))
    return runs


def graph_runs(shared: Path) -> list[Run]:
    """Return HNSW in Milvus, OpenSearch and Elasticsearch: 768 dimensions, merged to one segment.

    A virtual CPU is taken as half a core. Throughput at the best concurrency; what a core spends
    around a search is read off each database's runs on 1M vectors (`REQUEST_US`).
    """
    cores = {"Milvus": 8, "OpenSearch": 8, "ElasticCloud": 4}
    path = shared / "rag" / "vectordbbench" / "results.shared.csv.gz"
    seen, runs = set(), []
    with gzip.open(path, "rt", newline="") as lines:
        for row in csv.DictReader(lines):
            merged = row["db_label"].endswith("force_merge") and "sq4u" not in row["db_label"]
            sizes = {"Performance768D1M": 10**6, "Performance768D10M": 10**7}
            if row["db"] not in cores or not merged or row["case"] not in sizes:
                continue
            config = json.loads(row["index_config"])
            kept = config.get("ef") or config.get("efSearch") or config.get("num_candidates")
            key = (row["file"], row["case"], row["index_config"])
            if key in seen or not float(row["qps_max"]) or "routing" in row["db_label"]:
                continue
            seen.add(key)
            quantized = config.get("sq_type") == "SQ8"
            index = IndexSpec(
                kind="hnsw",
                dimension=768,
                vectors=sizes[row["case"]],
                vector_dtype="int8" if quantized else "fp32",
                m=config["M"],
                ef_search=kept,
                request_us=REQUEST_US[row["db"]],
            )
            spec = F32S_V2.model_copy(
                update={"cores": cores[row["db"]], "peak_tflops": {"fp32": 1.38}}
            )
            group = f"{row['db']} {row['case'].removeprefix('Performance')} HNSW"
            queries = 1000 * cores[row["db"]]
            device = own("cloud", spec)
            runs.append(Run(group, index, device, queries, queries / float(row["qps_max"])))
    return runs


def errors(runs: Sequence[Run], constants: object = None) -> tuple[float, float, float]:
    """Return the median and 90th percentile of the error, and the median ratio."""
    ratios = np.array([run.predicted(constants) / run.seconds for run in runs])
    off = np.abs(ratios - 1)
    return float(np.median(off)), float(np.quantile(off, 0.9)), float(np.median(ratios))


def report(runs: Sequence[Run]) -> None:
    """Print the error of every group."""
    for group in dict.fromkeys(run.group for run in runs):
        chosen = [run for run in runs if run.group == group]
        median, ninth, ratio = errors(chosen)
        print(f"{group:55} n {len(chosen):3}  {median:6.1%} / {ninth:6.1%}  ratio {ratio:5.2f}")


def fit(runs: Sequence[Run], start: object, names: Sequence[str]) -> object:
    """Return *start* with the constants called *names* fitted, by least squares of log ratios."""
    from scipy.optimize import least_squares

    def constants(logs: np.ndarray) -> object:
        return replace(start, **dict(zip(names, np.exp(logs), strict=True)))  # type: ignore[type-var]

    def residuals(logs: np.ndarray) -> np.ndarray:
        tried = constants(logs)
        return np.array([np.log(run.predicted(tried) / run.seconds) for run in runs])

    first = np.log([getattr(start, name) for name in names])
    return constants(least_squares(residuals, first, loss="soft_l1", f_scale=0.1).x)


def report_fit(runs: Sequence[Run], start: object, names: Sequence[str]) -> None:
    """Print the fitted constants, and the error of every group when it is left out."""
    best = fit(runs, start, names)
    print({name: float(f"{getattr(best, name):.4g}") for name in names})
    median, ninth, _ = errors(runs, best)
    print(f"all fitted: {median:.1%} / {ninth:.1%}")
    for group in dict.fromkeys(run.group for run in runs):
        rest = fit([run for run in runs if run.group != group], start, names)
        median, ninth, ratio = errors([run for run in runs if run.group == group], rest)
        print(f"  left out {group:50} {median:6.1%} / {ninth:6.1%}  ratio {ratio:5.2f}")


def main(arguments: Sequence[str]) -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path, help="folder of measured data")
    parser.add_argument("--fit", action="store_true", help="fit the constants anew")
    options = parser.parse_args(arguments)
    readers: list[Callable[[Path], list[Run]]] = [gpu_runs, cpu_runs, graph_runs]
    measured = [reader(options.shared) for reader in readers]
    for runs in measured:
        report(runs)
    if options.fit:
        processor, accelerator = find_constants("cpu")[0], find_constants("gpu")[1]
        gpu = ("query_us", "distance_efficiency", "lookup_flops", "table_bytes", "pair_bytes")
        report_fit(measured[0], accelerator, gpu)
        report_fit(measured[1], processor, ("query_us", "residual_table_us", "graph_vector_ns"))
        milvus = [run for run in measured[2] if run.group.startswith("Milvus 768D1M")]
        report_fit(milvus, processor, ("decode_ns",))


if __name__ == "__main__":
    main(sys.argv[1:])
