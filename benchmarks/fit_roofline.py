"""Fit the roofline's constants on measured operators and print how far off they are.

    python benchmarks/fit_roofline.py FOLDER [--write FILE]

FOLDER holds one folder a device in the layout of NVIDIA's aiconfigurator database (`h100_sxm/gemm/
vllm/...`). Every error printed is that of step times against sums of those operators: on the models
of the fit, on models left out of it, and, for the general constants, on a device left out of it.
Needs scipy, which nothing else here does.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from operator_sums import Operators, Step, step_seconds

from hermes.catalog import Device, Model, find_device, find_model
from hermes.costs.memory import (
    allowed_tensor_parallel_sizes,
    kv_bytes_per_token_per_device,
    weight_bytes_per_device,
)
from hermes.costs.work import Terms, compile_work

FITTED = (
    "Llama-3.1-8B",
    "Qwen2.5-7B",
    "Qwen3-14B",
    "Mistral-Small-24B-Instruct-2501",
    "Llama-3.1-70B",
)
HELD_OUT = (
    "Qwen3-8B",
    "Mistral-Nemo-Instruct-2407",
    "Qwen3-32B",
    "CodeLlama-34b-hf",
    "Qwen2.5-72B",
    "Mistral-Large-Instruct-2407",
)
FOLDERS = {
    "h100_sxm": "h100-sxm",
    "a100_sxm": "a100-sxm-80",
    "b200_sxm": "b200-sxm",
    "l40s": "l40s",
}
SAME_CHIP = {
    "h100-sxm": "h100-pcie h100-nvl h800-sxm h20-sxm h200-sxm gh200-96 gh200-144",
    "a100-sxm-80": "a100-sxm-40 a100-pcie-40 a100-pcie-80 a800-sxm-80 a30",
    "b200-sxm": "b300-sxm gb200 gb300",
    "l40s": "l4 rtx-4090",
}
SOURCE = "github:ai-dynamo/aiconfigurator@095f58a51c4c systems/data (Apache-2.0)"
COLUMNS = [
    "device",
    "dtype",
    "engine",
    "compute_efficiency",
    "memory_efficiency",
    "layer_overhead_us",
    "allreduce_latency_us",
    "link_efficiency",
    "sharpness",
    "stands_for",
    "fitted_decode_error",
    "fitted_prefill_error",
    "decode_error",
    "prefill_error",
    "fitted_on",
    "source",
]
NAMES = ("ec", "em", "o_us", "a_us", "b", "p")
START = (0.7, 0.8, 25.0, 3.0, 0.7, 2.0)
BOUNDS = ((0.1, 0.1, 1.0, 0.1, 0.02, 1.0), (1.2, 1.2, 300.0, 200.0, 1.2, 12.0))


@dataclass(frozen=True, slots=True)
class Point:
    """One measured step: its work at datasheet peaks and its seconds."""

    model: str
    kind: str
    size: int
    terms: Terms
    layers: int
    allreduces: int
    seconds: float


def steps() -> Iterable[Step]:
    """Yield the batches that are fitted: decode, prefill, and both in one step."""
    for decodes in (1, 2, 4, 8, 16, 32, 64, 128, 256):
        for context in (127, 511, 2047, 8191, 32767):
            yield Step(decodes, context)
    for prompts in (1, 2, 4, 8):
        for tokens in (64, 128, 256, 512, 1024, 2048, 4096, 8192):
            if prompts * tokens <= 8192:
                yield Step(prompts=prompts, prompt_tokens=tokens)
    for decodes in (8, 32, 128):
        for context in (511, 2047):
            for tokens in (256, 512, 1024, 2048):
                yield Step(decodes, context, 1, tokens)


def points(operators: Operators, model: Model) -> Iterable[Point]:
    """Yield the measured steps of *model* that fit the device's memory."""
    device, dtype = operators.device, operators.dtype
    for size in (1, 2, 4, 8):
        if size not in allowed_tensor_parallel_sizes(model):
            continue
        work = compile_work(model, device, dtype, "bf16", size)
        free = device.memory_bytes - weight_bytes_per_device(model, dtype, size)
        token = kv_bytes_per_token_per_device(model, "bf16", size)
        for step in steps():
            if token * step.aggregates[3] > free:
                continue
            seconds = step_seconds(operators, model, size, step)
            if math.isfinite(seconds):
                terms = work.terms(*step.aggregates)
                yield Point(
                    model.name, step.kind, size, terms, work.layers, work.allreduces, seconds
                )


def predicted(constants: Sequence[float], measured: Sequence[Point]) -> np.ndarray:
    """Return the seconds that the six constants predict."""
    ec, em, overhead, latency, link, power = constants
    terms = np.array([point.terms for point in measured])
    layers = np.array([point.layers for point in measured])
    allreduces = np.array([point.allreduces for point in measured])
    compute, memory = terms[:, 0] / ec, terms[:, 1] / em
    bound = (compute**power + memory**power) ** (1 / power)
    fixed = (overhead * layers + latency * allreduces) * 1e-6
    return bound + fixed + terms[:, 2] / link + terms[:, 3] / em


def fit(measured: Sequence[Point]) -> np.ndarray:
    """Return the constants of least absolute relative error, each kind of step weighing alike."""
    from scipy.optimize import least_squares

    seconds = np.array([point.seconds for point in measured])
    kinds = [point.kind for point in measured]
    weight = np.array([1 / math.sqrt(kinds.count(kind)) for kind in kinds]) * len(kinds) ** 0.5

    def residuals(logs: np.ndarray) -> np.ndarray:
        return weight * np.log(predicted(np.exp(logs), measured) / seconds)

    low, high = (np.log(bound) for bound in BOUNDS)
    found = least_squares(
        residuals, np.log(START), bounds=(low, high), loss="soft_l1", f_scale=0.05
    )
    return np.exp(found.x)


def errors(constants: Sequence[float], measured: Sequence[Point], kind: str) -> tuple[float, float]:
    """Return the median and 90th percentile of the absolute relative error on steps of a kind."""
    chosen = [point for point in measured if point.kind == kind]
    seconds = np.array([point.seconds for point in chosen])
    error = np.abs(predicted(constants, chosen) / seconds - 1)
    return float(np.median(error)), float(np.quantile(error, 0.9))


def report(title: str, constants: Sequence[float], measured: Sequence[Point]) -> None:
    """Print one line of errors."""
    parts = []
    for kind in ("decode", "prefill", "mixed"):
        median, ninety = errors(constants, measured, kind)
        parts.append(f"{kind} {median:6.1%} / {ninety:6.1%}")
    print(f"  {title:<24} {'   '.join(parts)}   ({len(measured)} steps)")


def row(
    device: str, dtype: str, constants: Sequence[float], fitted: list[Point], held: list[Point]
) -> dict[str, object]:
    """Return the row of the constants' table."""
    names = ("compute_efficiency", "memory_efficiency", "layer_overhead_us")
    names += ("allreduce_latency_us", "link_efficiency", "sharpness")
    models = ", ".join(dict.fromkeys(point.model for point in fitted))
    return {
        "device": device,
        "dtype": dtype,
        "engine": "vllm",
        **{name: f"{value:.4g}" for name, value in zip(names, constants, strict=True)},
        "stands_for": SAME_CHIP.get(device, ""),
        "fitted_decode_error": f"{errors(constants, fitted, 'decode')[0]:.3f}",
        "fitted_prefill_error": f"{errors(constants, fitted, 'prefill')[0]:.3f}",
        "decode_error": f"{errors(constants, held, 'decode')[0]:.3f}",
        "prefill_error": f"{errors(constants, held, 'prefill')[0]:.3f}",
        "fitted_on": f"{len(fitted)} steps of {models}",
        "source": SOURCE,
    }


def measure(folder: Path, device: Device, dtype: str) -> tuple[list[Point], list[Point]]:
    """Return the measured steps of the models of the fit, and of those left out."""
    operators = Operators(folder, device, dtype)
    fitted, held = (
        [point for name in names for point in points(operators, find_model(name))]
        for names in (FITTED, HELD_OUT)
    )
    return fitted, held


def general(measured: dict[str, tuple[list[Point], list[Point]]], dtype: str) -> dict[str, object]:
    """Fit all devices at once; the errors kept are those on a device left out."""
    everything = [point for fitted, _ in measured.values() for point in fitted]
    constants = fit(everything)
    print(f"general {dtype}: " + show(constants))
    report("fitted", constants, everything)
    by_kind: dict[str, list[float]] = {"decode": [], "prefill": []}
    for left_out, (_, held) in measured.items():
        others = [p for name, (fitted, _) in measured.items() if name != left_out for p in fitted]
        guess = fit(others)
        report(f"left out: {left_out}", guess, held)
        for kind, collected in by_kind.items():
            collected.append(errors(guess, held, kind)[0])
    found = row("general", dtype, constants, everything, everything)
    found["decode_error"] = f"{np.mean(by_kind['decode']):.3f}"
    found["prefill_error"] = f"{np.mean(by_kind['prefill']):.3f}"
    found["fitted_on"] = f"{len(everything)} steps on {', '.join(measured)}"
    return found


def show(constants: Sequence[float]) -> str:
    """Return the constants with their names."""
    return "  ".join(f"{name} {value:.3g}" for name, value in zip(NAMES, constants, strict=True))


def main() -> None:
    """Fit every device of the folder, print the errors, and write the table where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the database: one folder a device")
    parser.add_argument("--write", type=Path, help="the table of constants to write")
    arguments = parser.parse_args()
    rows = []
    print("median / p90 of |predicted / measured - 1|")
    for dtype in ("bf16", "fp8"):
        measured = {}
        for folder, name in FOLDERS.items():
            device = find_device(name)
            if dtype in device.peak_tflops and (arguments.folder / folder).is_dir():
                measured[name] = measure(arguments.folder / folder, device, dtype)
        for name, (fitted, held) in measured.items():
            constants = fit(fitted)
            print(f"{name} {dtype}: {show(constants)}")
            report("fitted", constants, fitted)
            report("held-out models", constants, held)
            rows.append(row(name, dtype, constants, fitted, held))
        rows.append(general(measured, dtype))
    with arguments.write.open("w", newline="") if arguments.write else sys.stdout as out:
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
