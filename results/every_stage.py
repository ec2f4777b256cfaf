"""The scenario with every kind of stage, on Azure's trace: its breakdown, told and drawn."""

from __future__ import annotations

import os
from pathlib import Path

from hermes.metrics import PARTS
from hermes.results.breakdown import pipeline_times, write_breakdown
from hermes.scenario.loading import read_scenario
from hermes.sim import SimulationResult, simulate

__all__ = ["write_every_stage"]

HERE = Path(__file__).resolve().parent
SCENARIO = HERE.parent / "sweeps" / "scenarios" / "every-stage.yaml"
TRACE = "traces/azure_llm_2023/AzureLLMInferenceTrace_conv.csv.gz"
METRICS = ("ttft_ms.p50", "ttft_ms.p99", "e2el_ms.p50", "e2el_ms.p99", "slo_attainment")
METRICS += ("answer_quality", "cost_per_request", "utilization")


def write_every_stage(target: Path) -> None:
    """Simulate the scenario and write `report.md` and `breakdown.png` into a folder."""
    source = read_scenario(SCENARIO, _traffic())
    result = simulate(source.scenario, source.folder)
    target.mkdir(exist_ok=True)
    write_breakdown(target / "breakdown.png", source.scenario.name, result.requests)
    (target / "report.md").write_text(_report(result), encoding="utf-8")


def _traffic() -> list[str]:
    """Return the overrides that put the real trace in the sample's place, where it is at hand."""
    shared = Path(os.environ.get("HERMES_SHARED_DATA", HERE.parent.parent / "shared" / "data"))
    if not (shared / TRACE).is_file():
        return []
    return [
        f"workload.requests={{trace: azure-2023, path: {(shared / TRACE).resolve()}}}",
        "workload.arrivals={process: trace, scale: 2}",
        "workload.limit.requests=4000",
    ]


def _report(result: SimulationResult) -> str:
    summary = result.summary
    lines = [
        "# every-stage",
        "",
        "> Guardrails, embedding, vector search, reranking, a router model, a cascade, an agent",
        "> with tools, multi-path reasoning, pictures and a stored context, on GPUs, an",
        "> accelerator, CPUs and memory that computes: where does the time of a request go?",
        "",
        f"{summary['completed']:,} of {summary['requests']:,} requests completed on "
        f"{summary['devices']} devices. Workload: {result.workload_source}.",
        "",
        "![Where the time of a request goes](breakdown.png)",
        "",
        "| metric | value |",
        "| --- | ---: |",
        *(f"| {name} | {_number(summary[name])} |" for name in METRICS),
        "",
        "Mean milliseconds of a request of each pipeline; the parts add up to its latency exactly.",
        "",
        "| pipeline | stage | " + " | ".join(PARTS) + " |",
        "| --- | --- |" + " ---: |" * len(PARTS),
    ]
    for times in pipeline_times(result.requests):
        for stage, parts in zip(times.stages, times.parts.tolist(), strict=True):
            cells = " | ".join(_number(value) for value in parts)
            lines.append(f"| {times.pipeline} | {stage} | {cells} |")
        lines.append(f"| **{times.pipeline}** | {_number(times.mean_ms)} ms in all |" + " |" * 5)
    lines += [
        "",
        "## How to regenerate",
        "",
        "```console",
        "hermes simulate sweeps/scenarios/every-stage.yaml --breakdown breakdown.png",
        "python results/regenerate.py every-stage",
        "```",
        "",
        f"<sub>Cost model: {result.cost_model}</sub>",
        "",
    ]
    return "\n".join(lines)


def _number(value: float | int | None) -> str:
    if value is None:
        return "-"
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
