"""Small scenarios with LoRA adapters, whose times can be worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hermes.scenario import Scenario, build_scenario
from hermes.sim import SimulationResult
from hermes.sim.deployment import resolve
from hermes.sim.simulation import simulate_deployment
from hermes.workload import build_workload

STEP_MS = 10
ADAPTER_BYTES = 2 * 41_943_040  # Llama-3.1-8B, rank 16, all linear layers, 16 bits
HOST_GB_PER_S = ADAPTER_BYTES / 1e9 * 1000  # so that an adapter is loaded in a millisecond

Request = tuple[float, int, int, int]
"""Arrival in seconds, prompt tokens, output tokens, adapter."""


def write_trace(folder: Path, requests: Sequence[Request], columns: str = "") -> None:
    """Write requests as a trace with a column of adapters."""
    lines = [f"arrival_s,prompt_tokens,output_tokens,attribute.adapter{columns}"]
    lines += [",".join(map(str, request)) for request in requests]
    (folder / "trace.csv").write_text("\n".join(lines) + "\n")


def scenario(workload: dict[str, Any] | None = None, **client: Any) -> Scenario:
    """Return a scenario of one client whose steps take 10 ms, and an adapter a millisecond."""
    body: dict[str, Any] = {
        "model": "llama-3.1-8b",
        "device": "slow-bus",
        "costs": {"linear": {"step_us": STEP_MS * 1000, "token_us": 0, "context_token_ns": 0}},
        "enable_lora": True,
        **client,
    }
    routing = body.pop("routing", None)
    return build_scenario(
        {
            "seed": 3,
            "workload": workload or {"requests": {"trace": "hermes", "path": "trace.csv"}},
            "clients": {"chat": body},
            "devices": {
                "slow-bus": {
                    "peak_tflops": {"bf16": 900},
                    "memory_gb": 80,
                    "memory_bandwidth_gb_per_s": 3000,
                    "host_bandwidth_gb_per_s": HOST_GB_PER_S,
                    "power_w": 700,
                    "usd_per_hour": 2,
                }
            },
            **({"routing": {"chat": routing}} if routing else {}),
        }
    )


def run(given: Scenario, folder: Path | None = None, fast_forward: bool = True) -> SimulationResult:
    """Simulate a scenario with the laws checked all along."""
    deployment = resolve(given, folder)
    workload = build_workload(given.workload, tuple(given.pipelines), given.seed, folder)
    return simulate_deployment(given, deployment, workload, fast_forward, check=True)


def finished_ms(result: SimulationResult) -> list[float]:
    """Return when each request was done, in milliseconds, to a microsecond."""
    return [round(ticks / 1e9, 3) for ticks in result.requests.finished.tolist()]


def first_ms(result: SimulationResult) -> list[float]:
    """Return when each request had its first token, in milliseconds, to a microsecond."""
    return [round(ticks / 1e9, 3) for ticks in result.requests.first_token.tolist()]
