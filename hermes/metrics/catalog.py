"""Every metric a simulation reports: its name, unit, better direction and meaning."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

__all__ = ["METRICS", "Metric"]

Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that describes one simulation."""

    name: str
    unit: str
    better: Direction
    meaning: str


_LATENCIES = {
    "ttft_ms": "time to first token",
    "tpot_ms": "time per output token after the first, (e2el - ttft) / (output_tokens - 1)",
    "itl_ms": "gap between two tokens of a request",
    "e2el_ms": "end-to-end latency",
    "queue_ms": "time waited to be taken up, over all stages",
    "e2el_in_window_ms": "end-to-end latency of requests completed while others still arrived",
}
_PARTS = {
    "compute_ms": "time being worked on, over all stages",
    "transfer_ms": "time for data to move between stages and replicas",
    "retrieval_ms": "time waited for KV from memory tiers",
    "preemption_ms": "time from losing KV blocks to being taken up again",
}
_STATISTICS = {
    "mean": "mean of",
    "p50": "median of",
    "p90": "90th percentile of",
    "p95": "95th percentile of",
    "p99": "99th percentile of",
}


def _latencies() -> list[Metric]:
    return [
        Metric(f"{name}.{statistic}", "ms", "minimize", f"{of} {meaning}")
        for name, meaning in _LATENCIES.items()
        for statistic, of in _STATISTICS.items()
    ] + [
        Metric(f"{name}.mean", "ms", "minimize", f"mean of {meaning}")
        for name, meaning in _PARTS.items()
    ]


def _others() -> list[Metric]:
    return [
        Metric("request_throughput", "req/s", "maximize", "completed requests per second"),
        Metric("output_throughput", "tok/s", "maximize", "output tokens per second"),
        Metric("total_token_throughput", "tok/s", "maximize", "prompt + output tokens per second"),
        Metric("request_goodput", "req/s", "maximize", "requests per second that met the SLO"),
        Metric("slo_attainment", "", "maximize", "share of all requests that met the SLO"),
        Metric("output_throughput_per_device", "tok/s", "maximize", "output tokens/s per device"),
        Metric("tokens_per_s_per_user", "tok/s", "maximize", "interactivity: 1000 / mean tpot_ms"),
        Metric("cost_per_hour", "USD/h", "minimize", "price of the devices there, for an hour"),
        Metric("cost_per_million_output_tokens", "USD", "minimize", "price of 1M output tokens"),
        Metric("cost_per_million_tokens", "USD", "minimize", "price of 1M prompt + output tokens"),
        Metric("devices", "", "minimize", "devices of all clients, on average"),
        Metric("device_hours", "h", "minimize", "time that devices were there, over all of them"),
        Metric("utilization", "", "maximize", "share of time the replicas computed"),
        Metric("availability", "", "maximize", "share of the time that replicas did serve"),
        Metric("requests", "", "maximize", "requests in the workload"),
        Metric("completed", "", "maximize", "requests that passed all their stages"),
        Metric(
            "completed_in_window",
            "",
            "maximize",
            "requests completed by the end of arrivals, where the workload's limit has a duration",
        ),
        Metric("rejected", "", "minimize", "requests that nobody took, or took in time"),
        Metric("failed", "", "minimize", "requests lost with a replica after they had begun"),
        Metric("retries", "", "minimize", "times a request began again on another replica"),
        Metric("preemptions", "", "minimize", "times a sequence lost its KV blocks"),
        Metric("duration_s", "s", "minimize", "first arrival to last end"),
        Metric("prompt_tokens", "tok", "maximize", "prompt tokens of the answers' calls"),
        Metric("output_tokens", "tok", "maximize", "tokens sampled for completed requests"),
        Metric("reused_tokens", "tok", "maximize", "prompt tokens found in a replica's KV cache"),
        Metric("fetched_tokens", "tok", "maximize", "prompt tokens whose KV a memory tier gave"),
        Metric("steps", "", "minimize", "steps of all replicas"),
        Metric("adapter_loads", "", "minimize", "times a replica loaded a LoRA adapter"),
        Metric("cost_per_request", "USD", "minimize", "price of one completed request"),
        Metric("energy_j_per_request", "J", "minimize", "energy of the devices for a request"),
        Metric(
            "energy_kwh_per_million_output_tokens",
            "kWh",
            "minimize",
            "energy of the devices for 1M output tokens",
        ),
        Metric("power_w", "W", "minimize", "mean power of all devices"),
        Metric("co2_g_per_request", "g", "minimize", "CO2 equivalents of a request's energy"),
        Metric(
            "co2_g_per_million_output_tokens",
            "g",
            "minimize",
            "CO2 equivalents of the energy for 1M output tokens",
        ),
        Metric(
            "co2_g_per_million_tokens",
            "g",
            "minimize",
            "CO2 equivalents of the energy for 1M prompt + output tokens",
        ),
        Metric("answer_quality", "", "maximize", "share of answers that are right"),
    ]


_ORIGINS: tuple[tuple[str, Direction, str], ...] = (
    ("measured", "maximize", "that was measured, just so"),
    ("interpolated", "maximize", "that lies between measurements"),
    ("extrapolated", "minimize", "that lies outside of measurements"),
    ("roofline", "maximize", "by laws that were fitted on the device"),
    ("uncalibrated", "minimize", "by laws that were not fitted on the device"),
    ("given", "maximize", "that the scenario gives"),
)


def _origins() -> list[Metric]:
    return [
        Metric(f"cost_share.{origin}", "", better, f"share of the devices' busy time {meaning}")
        for origin, better, meaning in _ORIGINS
    ]


METRICS = MappingProxyType(
    {metric.name: metric for metric in [*_latencies(), *_others(), *_origins()]}
)
"""All metrics by name."""
