"""A made-up study of 160 trials that looks like a real one: rows, study, schema.

The numbers come from a toy formula, not from the simulator, so that tests of the store and the
reports depend on neither. Some deployments do not fit, one trial failed, one ran out of time.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from typing import Any

from hermes.results import common_type, parameter_column, trial_schema

METRICS = (
    *(f"{kind}.{at}" for kind in ("ttft_ms", "tpot_ms", "itl_ms", "e2el_ms")
      for at in ("mean", "p50", "p90", "p95", "p99")),
    "request_throughput", "output_throughput", "total_token_throughput", "request_goodput",
    "slo_attainment", "completed", "rejected", "requests", "duration_s",
    "cost_per_million_output_tokens", "cost_per_million_tokens", "cost_per_hour", "devices",
    "preemptions", "output_throughput_per_device", "tokens_per_s_per_user",
)  # fmt: skip

SPACE = {
    "clients.chat-pool.device": ["h100-sxm", "a100-sxm-80", "l40s", "mi300x"],
    "clients.chat-pool.tensor_parallel_size": [1, 2, 4, 8],
    "clients.chat-pool.max_num_batched_tokens": [512, 1024, 2048, 4096, 8192],
    "clients.chat-pool.replicas": [1, 2],
}
OBJECTIVES = {"cost_per_million_output_tokens": "minimize", "request_goodput": "maximize"}
STUDY: dict[str, Any] = {
    "name": "cheapest-chat",
    "question": "Which deployment serves our chat traffic with a p99 TTFT under 500 ms at the "
    "lowest cost?",
    "objectives": OBJECTIVES,
    "constraints": ["ttft_ms.p99 <= 500"],
    "space": SPACE,
    "scenario": {
        "name": "chat",
        "seed": 0,
        "clients": {"chat-pool": {"serves": ["generate"], "model": "llama-3.1-70b"}},
        "workload": {"arrivals": {"process": "poisson", "rate_per_s": 8}},
        "slo": {"ttft_ms": 500, "tpot_ms": 50},
    },
    "hermes_version": "0.1.0",
    "study_key": "5f" * 16,
}
# device: memory GB, usable memory bandwidth TB/s, usable TFLOPS, USD/h
DEVICES = {
    "h100-sxm": (80, 2.6, 600, 2.49),
    "a100-sxm-80": (80, 1.6, 220, 1.79),
    "l40s": (48, 0.65, 150, 0.86),
    "mi300x": (192, 3.6, 500, 3.99),
}


def parameters() -> dict[str, type]:
    return {path: common_type(choices) for path, choices in SPACE.items()}


def schema(study_key: str = STUDY["study_key"]):
    return trial_schema(parameters(), METRICS, study_key)


def study_rows() -> list[dict[str, Any]]:
    points = list(itertools.product(*SPACE.values()))
    rows = [_row(number, dict(zip(SPACE, point, strict=True))) for number, point in
            enumerate(points)]  # fmt: skip
    for number, status, kind, error in (
        (47, "failed", "SimulationError", "KV blocks did not return to zero at the end"),
        (93, "timeout", "TrialTimeoutError", "stopped after 300 s"),
    ):
        rows[number] = {
            **{name: value for name, value in rows[number].items() if name not in METRICS},
            "status": status,
            "error_type": kind,
            "error": error,
            "feasible": None,
            "violation": None,
        }
    return rows


def _row(number: int, point: dict[str, Any]) -> dict[str, Any]:
    device, tp, tokens, replicas = point.values()
    memory, bandwidth, flops, price = DEVICES[device]
    row: dict[str, Any] = {
        "trial_key": hashlib.sha256(f"{number}".encode()).hexdigest()[:32],
        "number": number,
        "seed": 0,
        **{parameter_column(path): value for path, value in point.items()},
        "cost_model": "roofline: calibrated",
        "hermes_version": "0.1.0",
        "host": "node-1",
        "started_at": "2026-11-20T10:00:00+00:00",
        "trial_seconds": 0.31 + 0.01 * (number % 7),
        "attempt": 1,
    }
    if 141.0 / tp > 0.92 * memory:
        return row | {
            "status": "infeasible",
            "error_type": "InfeasibleError",
            "error": f"llama-3.1-70b does not fit on {tp} x {device}: needs {141 / tp:.1f} GB a "
            f"device, {0.92 * memory:.1f} GB are available",
        }
    metrics = _metrics(bandwidth * tp**0.72, flops * tp**0.75, tp, tokens, replicas, price)
    late = metrics["ttft_ms.p99"] / 500.0 - 1.0
    return row | metrics | {
        "status": "completed", "feasible": late <= 0, "violation": max(late, 0.0),
    }  # fmt: skip


def _metrics(bandwidth, flops, tp, tokens, replicas, price) -> dict[str, float | None]:
    step_ms = 141.0 / bandwidth + 0.4 + tokens * 0.14 / flops * 100 * 0.35
    capacity = replicas * 1000.0 * 80 / (step_ms * 126) / (1 + 1200 / tokens * 0.4)
    throughput = 0.8 * capacity / (1 + 0.03 * (replicas - 1))
    waiting = 25.0 + 12.0 / replicas + tokens / 90
    ttft = 517 * 0.14 / flops * 1000 + 1.6 * step_ms + waiting
    attainment = 1.0 / (1.0 + math.exp((ttft - 420) / 60)) * (1.0 if step_ms < 50 else 0.6)
    values: dict[str, float | None] = {}
    for kind, base in (("ttft_ms", ttft), ("tpot_ms", step_ms), ("itl_ms", step_ms),
                       ("e2el_ms", ttft + 125 * step_ms)):  # fmt: skip
        for at, scale in zip(("mean", "p50", "p90", "p95", "p99"), (1, 0.9, 1.4, 1.7, 2.2),
                             strict=True):  # fmt: skip
            values[f"{kind}.{at}"] = base * scale
    hourly = price * tp * replicas
    return values | {
        "request_throughput": throughput,
        "output_throughput": throughput * 126,
        "total_token_throughput": throughput * 643,
        "request_goodput": throughput * attainment,
        "slo_attainment": attainment,
        "completed": 2000.0,
        "rejected": 0.0,
        "requests": 2000.0,
        "duration_s": 2000 / throughput,
        "cost_per_million_output_tokens": hourly / (throughput * 126 * 3600) * 1e6,
        "cost_per_million_tokens": hourly / (throughput * 643 * 3600) * 1e6,
        "cost_per_hour": hourly,
        "devices": float(tp * replicas),
        "preemptions": 0.0,
        "output_throughput_per_device": throughput * 126 / tp / replicas,
        "tokens_per_s_per_user": 1000 / step_ms,
    }
