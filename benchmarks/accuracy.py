"""Print how far the cost models are from measurements, per device, model and engine.

    python benchmarks/accuracy.py SHARED_DATA [--markdown]

SHARED_DATA holds `hardware/` and `e2e/`. Every error is |predicted / measured - 1|. No law was
fitted on a step: laws are fitted on operators, so all steps are held out. `datasheet` fits the laws
on the other devices only, as for a device known by its datasheet alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fit_roofline import FOLDERS, Sample, fit, measure
from operator_sums import Operators, aggregates, step_seconds
from recorded_runs import request_errors, static_batch_errors
from serving_rows import ServingRow, replay, serving_rows

from hermes.catalog import Device, find_device, find_model
from hermes.costs.compiled import CompiledStepCost
from hermes.costs.constants import Laws, find_laws
from hermes.costs.engines import find_overheads
from hermes.costs.law import Law
from hermes.costs.memory import (
    allowed_tensor_parallel_sizes,
    kv_bytes_per_token_per_device,
    weight_bytes_per_device,
)
from hermes.costs.pass_cost import PassCost
from hermes.costs.roofline import Roofline
from hermes.costs.tables import CallTable, TablePass, read_calls
from hermes.errors import InfeasibleError
from hermes.profile.steps import StepShape, step_sum

MODELS = (
    "Llama-3.1-8B",
    "Qwen3-8B",
    "Mistral-Nemo-Instruct-2407",
    "Qwen3-14B",
    "Mistral-Small-24B-Instruct-2501",
    "Qwen3-32B",
    "CodeLlama-34b-hf",
    "Llama-3.1-70B",
    "Qwen2.5-72B",
    "Mistral-Large-Instruct-2407",
)


@dataclass(frozen=True)
class Line:
    """The errors of one group of measurements."""

    group: tuple[str, ...]
    count: int
    median: float
    ninety: float
    bias: float

    def text(self) -> str:
        """Return the line for a table."""
        numbers = (str(self.count), *(f"{x:.1%}" for x in (self.median, self.ninety, self.bias)))
        return "| " + " | ".join((*self.group, *numbers)) + " |"


def lines(errors: dict[tuple[str, ...], list[float]]) -> list[Line]:
    """Summarize relative errors by group."""
    found = []
    for group, values in errors.items():
        array = np.array(values)
        size = np.abs(array)
        found.append(
            Line(
                group,
                len(array),
                float(np.median(size)),
                float(np.quantile(size, 0.9)),
                float(np.median(array)),
            )
        )
    return found


def steps() -> Iterator[StepShape]:
    """Yield the batches that are compared: decode, prefill, and both in one step."""
    for decodes in (1, 2, 4, 8, 16, 32, 64, 128, 256):
        for context in (127, 511, 2047, 8191, 32767):
            yield StepShape(decodes, context)
    for prompts in (1, 2, 4, 8):
        for tokens in (64, 128, 256, 512, 1024, 2048, 4096, 8192):
            if prompts * tokens <= 8192:
                yield StepShape(prompts=prompts, prompt_tokens=tokens)
    for decodes in (8, 32, 128):
        for context in (511, 2047):
            for tokens in (256, 512, 1024, 2048):
                yield StepShape(decodes, context, 1, tokens)


def dense_errors(
    folder: Path,
    device: Device,
    dtype: str,
    cost: Callable[[str, int], PassCost],
    models: Iterable[str] = MODELS,
) -> dict[str, list[float]]:
    """Return relative errors of dense steps against sums of measured operators, by kind."""
    operators = Operators(folder, device, dtype)
    found: dict[str, list[float]] = defaultdict(list)
    for name in models:
        model = find_model(name)
        for size in (1, 2, 4, 8):
            if size not in allowed_tensor_parallel_sizes(model):
                continue
            free = device.memory_bytes - weight_bytes_per_device(model, dtype, size)
            token = kv_bytes_per_token_per_device(model, "bf16", size)
            passes = cost(name, size)
            for step in steps():
                if token * aggregates(step)[2] > free:
                    continue
                seconds = step_seconds(operators, model, size, step)
                if math.isfinite(seconds):
                    found[step.kind].append(step_sum(passes, step) / seconds - 1)
    return found


def left_out_laws(samples: dict[tuple[str, str], list[Sample]], device: Device, dtype: str) -> Laws:
    """Return general laws fitted on every other device."""
    table: dict[tuple[str, str, str], Law] = dict(find_laws(device).table)
    table = {key: law for key, law in table.items() if key[0] == "general"}
    for (operator, kind), group in samples.items():
        others = [sample for sample in group if sample.device != device.name]
        if not others or kind not in {"bf16", dtype, "2", "4", "8"}:
            continue
        if operator in {"linear", "prefill", "decode", "allreduce"}:
            ec, em, p, overhead, wave, extra, skew = (float(x) for x in fit(others))
            law = table["general", operator, kind]
            table["general", operator, kind] = dataclasses.replace(
                law,
                compute_efficiency=ec,
                memory_efficiency=em,
                sharpness=p,
                overhead_us=overhead,
                wave=wave,
                extra=extra,
                skew=skew,
            )
    return Laws(device, table)


def dense_steps(database: Path) -> list[Line]:
    """Compare dense steps with tables, fitted laws, and laws of the other devices."""
    errors: dict[tuple[str, ...], list[float]] = {}
    samples = measure(database)
    for folder, name in FOLDERS.items():
        device = find_device(name)
        for dtype in ("bf16", "fp8"):
            if dtype not in device.peak_tflops:
                continue
            table = read_calls(database / folder, find_model("llama-3.1-8b"), device, 1)
            for how, laws in (
                ("table", find_laws(device)),
                ("fitted", find_laws(device)),
                ("datasheet", left_out_laws(samples, device, dtype)),
            ):

                def cost(
                    model: str,
                    size: int,
                    device: Device = device,
                    dtype: str = dtype,
                    laws: Laws = laws,
                    table: CallTable | None = table if how == "table" else None,
                ) -> PassCost:
                    found = Roofline(find_model(model), device, dtype, "auto", size, laws=laws)
                    return found if table is None else TablePass(found, table, "table")

                for kind, values in dense_errors(database / folder, device, dtype, cost).items():
                    errors[how, name, dtype, kind] = values
    return lines(errors)


def serving_cost(row: ServingRow) -> CompiledStepCost:
    """Return the cost model that a scenario would get for a run."""
    engine = "vllm-sync" if row.engine == "vllm" and not row.documented else row.engine
    around = find_overheads(engine)
    device = find_device(row.system)
    roofline = Roofline(
        find_model(row.model),
        device,
        row.dtype,
        row.kv_dtype,
        row.size,
        row.expert_parallel,
        find_laws(device, around.launch, around.deep_gemm),
    )
    return CompiledStepCost(roofline, around.step_us * 1e-6, around.request_ms * 1e-3)


def serving(path: Path) -> list[Line]:
    """Replay the serving runs: TPOT of all, TTFT of those whose load protocol is known."""
    errors: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for row in serving_rows(path):
        try:
            ttft, tpot = replay(row, serving_cost(row))
        except InfeasibleError:
            continue
        part = "C <= 8" if row.concurrency <= 8 else "C > 8"
        group = (row.engine, row.kind, row.model.split("/")[-1], row.system, row.dtype, part)
        errors["TPOT", *group].append(tpot / row.tpot_ms - 1)
        if row.documented:
            errors["TTFT", *group].append(ttft / row.ttft_ms - 1)
    return lines(dict(sorted(errors.items())))


def main() -> None:
    """Print every comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where hardware/ and e2e/ lie")
    folder = parser.parse_args().folder
    print("| laws | device | weights | steps | n | median | p90 | bias |")
    print("|---|---|---|---|---|---|---|---|")
    for line in dense_steps(folder / "hardware" / "aiconfigurator"):
        print(line.text())
    print(
        "\n| metric | engine | kind | model | device | dtype | clients | n | median | p90 | bias |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    runs = folder / "e2e" / "aiconfigurator_silicon" / "silicon_sample.shared.csv.gz"
    for line in serving(runs):
        print(line.text())
    print("\n| run | costs | metric | n | median | p90 | bias |")
    print("|---|---|---|---|---|---|---|")
    for line in lines(request_errors(folder / "hardware")):
        print(line.text())
    print("\n| device | framework | devices | n | median | p90 | bias |")
    print("|---|---|---|---|---|---|---|")
    batches = folder / "e2e" / "argonne_llm_inference_bench" / "All_results.shared.csv"
    for line in lines(static_batch_errors(batches)):
        print(line.text())


if __name__ == "__main__":
    main()
