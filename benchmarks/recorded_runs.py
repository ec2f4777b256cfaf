"""Two more measurements: requests of one vLLM run, one by one, and static batches."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from serving_rows import SCENARIO

from hermes.catalog import find_device, find_model
from hermes.costs.build import build_step_cost
from hermes.costs.compiled import CompiledStepCost
from hermes.costs.engines import find_overheads
from hermes.costs.memory import num_gpu_blocks
from hermes.costs.roofline import Roofline
from hermes.errors import InfeasibleError, UnknownNameError
from hermes.scenario.costs import CostsSpec, TableCostSpec
from hermes.sim.deployment import resolve
from hermes.sim.simulation import simulate_deployment
from hermes.workload import Workload

__all__ = ["request_errors", "static_batch_errors"]

Errors = dict[tuple[str, ...], list[float]]
HARDWARE = {
    "Nvidia A100 GPU": "a100-sxm-40",
    "Nvidia H100 GPU": "h100-sxm",
    "AMD MI250 GPU": "mi250x",
    "Intel Max 1550": "max-1550",
}
FRAMEWORKS = {"vLLM": "vllm-sync", "TensorRT-LLM": "trtllm"}


def request_errors(hardware: Path) -> Errors:
    """Return relative errors of every request of vLLM's run on a GeForce RTX 4090."""
    folder = hardware / "llmservingsim"
    run = folder / "e2e_vllm" / "RTX4090" / "Llama-3.1-8B"
    rows = [json.loads(line) for line in (run / "requests.jsonl").read_text().splitlines()]
    rows.sort(key=lambda row: row["queued_ts"])
    table = folder / "perf" / "RTX4090" / "meta-llama" / "Llama-3.1-8B" / "bf16" / "tp1"
    errors: Errors = {}
    for name, spec in (
        ("roofline", "roofline"),
        ("table", TableCostSpec(table=str(table), request_overhead_ms=0.0)),
    ):
        ttft, tpot = _replayed(rows, spec)
        begun = np.array([row["queued_ts"] for row in rows])
        first = np.array([row["first_token_ts"] for row in rows])
        last = np.array([row["last_token_ts"] for row in rows])
        outputs = np.array([row["output_toks"] for row in rows])
        several = outputs > 1
        measured = (last - first)[several] / (outputs[several] - 1)
        errors["RTX 4090", name, "TTFT"] = (ttft / (first - begun) - 1).tolist()
        errors["RTX 4090", name, "TPOT"] = (tpot[several] / measured - 1).tolist()
        means = (float(ttft.mean() / (first - begun).mean() - 1),)
        errors["RTX 4090", name, "mean TTFT"] = list(means)
        errors["RTX 4090", name, "mean TPOT"] = [float(tpot[several].mean() / measured.mean() - 1)]
    return errors


def _replayed(rows: list[dict[str, float]], spec: CostsSpec) -> tuple[np.ndarray, np.ndarray]:
    """Return TTFT and TPOT of every request, in seconds; the engine's times, no front end."""
    model, device = find_model("llama-3.1-8b"), find_device("rtx-4090")
    costs = build_step_cost(spec, model, device, "bf16", "bf16", 1)
    deployment = resolve(SCENARIO)
    plan = deployment.clients[0]
    limits = dataclasses.replace(
        plan.limits,
        max_num_seqs=256,
        max_num_batched_tokens=2048,
        num_blocks=2587,
        max_model_len=32768,
    )
    plan = dataclasses.replace(plan, limits=limits, costs=costs, model=model, device=device)
    deployment = dataclasses.replace(deployment, clients=(plan,))
    begun = np.array([row["queued_ts"] for row in rows])
    zeros = np.zeros(len(rows), np.int64)
    workload = Workload(
        arrival_ticks=np.round((begun - begun[0]) * 1e12).astype(np.int64),
        prompt_tokens=np.array([row["input_toks"] for row in rows], np.int64),
        output_tokens=np.array([row["output_toks"] for row in rows], np.int64),
        pipeline=zeros,
        pipeline_names=("default",),
        source="recorded",
    )
    columns = simulate_deployment(SCENARIO, deployment, workload).requests
    ttft = (columns.first_token - columns.arrival - costs.request_ticks) / 1e12
    decode = (columns.last_token - columns.first_token) / 1e12
    return ttft, decode / np.maximum(columns.output_tokens - 1, 1)


def static_batch_errors(path: Path) -> Errors:
    """Return relative errors of the latency of static batches, by hardware and framework."""
    import pandas as pd

    table = pd.read_csv(path)
    errors: Errors = defaultdict(list)
    for row in table[table.Framework.isin(FRAMEWORKS)].itertuples():
        device, count, length, batch = HARDWARE[row.Hardware], row._2, row._5, row._6
        try:
            seconds = _batch_seconds(
                row.Model, device, count, length, batch, FRAMEWORKS[row.Framework]
            )
        except (InfeasibleError, UnknownNameError):
            continue
        if seconds is not None:
            errors[device, row.Framework, f"{count}"].append(seconds / row.Latency - 1)
    return errors


def _batch_seconds(
    name: str, device_name: str, size: int, length: int, batch: int, engine: str
) -> float | None:
    """Return the seconds of a batch of prompts and as many outputs; None where it does not fit."""
    model, device = find_model(name), find_device(device_name)
    blocks = num_gpu_blocks(device, model, "auto", "auto", size, 16, 0.9)
    if blocks * 16 < 2 * length * batch:
        return None  # it ran in several waves
    around = find_overheads(engine)
    roofline = Roofline(model, device, tensor_parallel_size=size)
    costs = CompiledStepCost(roofline, around.step_us * 1e-6, around.request_ms * 1e-3)
    prompts = batch * length
    ticks = costs.step_ticks(0, 0, prompts, 0, batch * length * (length + 1) // 2, batch)
    for step in range(1, length):
        context = batch * (length + step)
        _, base, slope = costs.decode_segment(batch, context)
        ticks += base + slope * context
    return (ticks + costs.request_ticks) / 1e12
