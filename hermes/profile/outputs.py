"""What a profile writes beside the table: the device's block, a scenario that names both, facts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hermes.profile.journal import Entry
from hermes.profile.machine import Machine
from hermes.profile.physics import Peaks
from hermes.scenario.device import DeviceSpec

__all__ = ["device_block", "write_devices", "write_facts", "write_scenario"]

_GB = 1e9


def device_block(
    machine: Machine, peaks: Peaks, entries: Iterable[Entry], source: str
) -> DeviceSpec:
    """Return the device as it was measured: the best that any accepted point reached."""
    host, watts = peaks.host, 0.0
    for entry in entries:
        watts = max(watts, entry.get("power_w") or 0.0)
        copied = machine.kind == "cpu" and entry["operator"] == "device_to_device"
        if copied and entry.seconds and not entry.get("why_not"):
            host = max(host, float(entry["cold_bytes"]) / 2 / entry.seconds)
    return DeviceSpec(
        peak_tflops={"bf16": _rounded(peaks.flops["bf16"] / 1e12)},
        memory_gb=_rounded(machine.memory_bytes / 2**30),
        memory_bandwidth_gb_per_s=_rounded(peaks.memory / _GB),
        host_bandwidth_gb_per_s=_rounded((host or peaks.memory) / _GB),
        kind="cpu" if machine.kind == "cpu" else "gpu",
        power_w=_rounded(watts) if watts else None,
        source=source,
    )


def write_scenario(
    path: Path, name: str, block: DeviceSpec | None, model: str, step_overhead_us: float | None
) -> None:
    """Write a scenario that names the table and the device; it runs as it is.

    Args:
        path: The file; the table lies beside it.
        name: Of the device.
        block: Of the device; None where the catalog has it.
        model: To serve, as the scenario names it.
        step_overhead_us: Of every step, where whole steps were measured.
    """
    costs: dict[str, Any] = {"table": "table.csv", "engine": "none"}
    if step_overhead_us is not None:
        costs["step_overhead_us"] = round(step_overhead_us, 1)
    small = block is not None and block.kind == "cpu"
    value: dict[str, Any] = {
        "name": f"on-{name}"[:100],
        "workload": {
            "requests": {"lengths": {"prompt": 128 if small else 512, "output": 32}},
            "arrivals": {"process": "poisson", "rate_per_s": 0.2 if small else 4},
            "limit": {"requests": 100},
        },
        "clients": {"chat": {"model": model, "device": name, "dtype": "bfloat16", "costs": costs}},
    }
    if small:
        value["clients"]["chat"] |= {"max_num_seqs": 16, "max_num_batched_tokens": 512}
    if block is not None:
        value["devices"] = {name: block.model_dump(exclude_none=True, exclude_defaults=True)}
    _write_yaml(path, value)


def write_devices(path: Path, name: str, block: DeviceSpec) -> None:
    """Write the block alone, to be copied into scenarios."""
    fields = block.model_dump(exclude_none=True, exclude_defaults=True)
    _write_yaml(path, {"devices": {name: fields}})


def write_facts(path: Path, facts: Mapping[str, Any]) -> None:
    """Write what was found, for programs."""
    path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _write_yaml(path: Path, value: Mapping[str, Any]) -> None:
    import yaml

    text = yaml.safe_dump(dict(value), sort_keys=False, default_flow_style=None, width=100)
    path.write_text(text, encoding="utf-8")


def _rounded(value: float) -> float:
    """Return four digits."""
    return float(f"{value:.4g}")
