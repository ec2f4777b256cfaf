"""One profile from beginning to end: what `hermes profile` does."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from hermes.catalog import Device, Model, find_device, find_model, model_names
from hermes.errors import InputError, UnknownNameError
from hermes.profile.checks import Checks, check_operators
from hermes.profile.collectives import collective_points, measure_collectives
from hermes.profile.families import FAMILIES, plan_families
from hermes.profile.journal import Journal
from hermes.profile.limit import TimeLimit
from hermes.profile.machine import Machine, catalog_device, find_machine, scenario_name
from hermes.profile.outputs import device_block, write_devices, write_facts, write_scenario
from hermes.profile.progress import Progress, open_progress
from hermes.profile.reach import Reach, reach_of
from hermes.profile.session import Outcome, run_session
from hermes.profile.table import write_table
from hermes.profile.torch_bench import TorchBench
from hermes.profile.whole import check_whole

__all__ = ["Request", "profile"]

_ALL = "all"
_COLLECTIVES = "collectives"
_COLLECTIVES_SHARE = 0.1
_OPERATORS_SHARE, _ALONE_SHARE = 0.65, 0.93
"""When the operators' time ends, with and without whole steps; the table is judged after."""
_WHOLE_SHARE = 0.97
_MODELS = {
    "gpu": (
        "meta-llama/Llama-3.1-8B",
        "meta-llama/Llama-3.1-70B",
        "Qwen/Qwen3-32B",
        "Qwen/Qwen3-30B-A3B",
        "mistralai/Mixtral-8x7B-v0.1",
        "openai/gpt-oss-120b",
        "Qwen/Qwen3-235B-A22B",
        "Qwen/Qwen2.5-7B",
        "meta-llama/Llama-3.2-1B",
    ),
    "cpu": ("Qwen/Qwen2.5-0.5B",),
}


@dataclass(frozen=True, slots=True)
class Request:
    """What to profile, and for how long."""

    out: Path
    device: str = "auto"
    """auto, cuda or cpu."""
    device_name: str = ""
    """Of the device in scenarios; empty: the catalog's, or as the driver calls it."""
    minutes: float = 10.0
    operators: tuple[str, ...] = ()
    """Families to measure; empty: all."""
    models: tuple[str, ...] = ()
    """Whose shapes to measure; empty: some that suit the device; `all`: the whole catalog."""
    everything: bool = False
    """Whether whole steps and a serving loop are measured too."""
    resume: bool = False
    quiet: bool = False
    reach: Reach | None = field(default=None, compare=False)
    """How far the grids reach; None: what suits the device and the time."""


def profile(request: Request) -> dict[str, Any]:
    """Measure the device, write the table and what goes with it, and return what was found.

    Raises:
        InputError: There is no such device, operator or model, or the folder holds something else.
    """
    _check(request)
    limit = TimeLimit(60 * request.minutes)
    names = model_names() if request.models == (_ALL,) else request.models
    models = tuple(find_model(name) for name in names)
    machine = find_machine(request.device)
    if request.operators == (_COLLECTIVES,) and machine.devices < 2:
        raise InputError("there is one device; collectives need several", "--operators")
    models = models or tuple(find_model(name) for name in _MODELS[machine.kind])
    device = _known(request, machine)
    name = device.name if device else request.device_name or scenario_name(machine.device_name)
    about = _about(machine, name)
    journal = Journal(request.out / "points.jsonl", about, request.resume)
    progress = open_progress(request.quiet)
    try:
        return _profile(request, limit, machine, models, device, name, about, journal, progress)
    finally:
        progress.close()
        (request.out / "disk-read.tmp").unlink(missing_ok=True)


def _profile(  # noqa: PLR0913, PLR0917  # the pieces that `profile` put together
    request: Request,
    limit: TimeLimit,
    machine: Machine,
    models: Sequence[Model],
    device: Device | None,
    name: str,
    about: dict[str, Any],
    journal: Journal,
    progress: Progress,
) -> dict[str, Any]:
    reach = request.reach or reach_of(machine, limit.seconds)
    bench = TorchBench(machine, device, about, request.out, reach.point_seconds)
    names = [each for each in FAMILIES if _wanted(request, each)]
    lacking = ""
    if machine.devices > 1 and _wanted(request, _COLLECTIVES):
        share = _COLLECTIVES_SHARE if names else _ALONE_SHARE
        lacking = _collectives(request, machine, reach, journal, share * limit.left)
    families = plan_families(names, models, reach, bench.peaks()) if names else ()
    share = _OPERATORS_SHARE if request.everything else _ALONE_SHARE
    outcome = run_session(
        bench,
        families,
        journal,
        limit.until(share),
        progress,
        point_seconds=reach.point_seconds,
    )
    source = f"hermes profile on {machine.device_name}, {about['date']}"
    block = None if device else device_block(machine, outcome.peaks, journal.entries, source)
    rows = write_table(request.out / "table.csv", journal.entries, name, source)
    facts = _facts(about, outcome, rows, journal)
    if lacking:
        facts["collectives not measured"] = lacking
    if rows:
        checks = Checks(request.out, machine, (name, block), models, journal.entries, source)
        facts |= check_operators(checks, limit.left)
        if request.everything and not (outcome.interrupted or outcome.lost):
            facts |= check_whole(checks, bench, reach, _WHOLE_SHARE * limit.left, progress)
    overhead = facts.get("whole steps", {}).get("step_overhead_us")
    if rows:
        served = _served(request, models)
        write_scenario(request.out / "scenario.yaml", name, block, served, overhead)
    if block is not None:
        write_devices(request.out / "devices.yaml", name, block)
    facts["seconds"] = round(limit.spent, 1)
    write_facts(request.out / "profile.json", facts)
    return facts


def _check(request: Request) -> None:
    allowed = [*FAMILIES, _COLLECTIVES]
    for name in request.operators:
        if name not in allowed:
            raise UnknownNameError.among("operator", name, allowed, "--operators")
    if request.device not in {"auto", "cuda", "cpu"}:
        known = ["auto", "cuda", "cpu"]
        raise UnknownNameError.among("device", request.device, known, "--device")
    if not request.minutes > 0:
        raise InputError(f"expected a positive number, got {request.minutes:g}", "--minutes")
    given = request.device_name
    if given and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", given):
        message = f"expected letters, digits, '-' and '_', got {given!r}"
        raise InputError(message, "--device-name")


def _served(request: Request, models: Sequence[Model]) -> str:
    """Return the first decoder as a scenario in the folder names it."""
    given = request.models
    if not given or given == (_ALL,):
        given = tuple(model.name for model in models)
    for text, model in zip(given, models, strict=True):
        if model.causal:
            is_path = Path(text).exists()
            return os.path.relpath(text, request.out) if is_path else model.name
    return _MODELS["cpu"][0]


def _wanted(request: Request, family: str) -> bool:
    return not request.operators or family in request.operators


def _known(request: Request, machine: Machine) -> Device | None:
    """Return the catalog's device, whose datasheet bounds what is measured."""
    if machine.kind == "cpu":
        return None
    if request.device_name:
        try:
            return find_device(request.device_name)
        except UnknownNameError:
            return None
    return catalog_device(machine.device_name, machine.memory_bytes)


def _about(machine: Machine, name: str) -> dict[str, Any]:
    from hermes import __version__

    return {
        "device": name,
        "machine": machine.device_name,
        "devices": machine.devices,
        "memory_bytes": machine.memory_bytes,
        "cache_bytes": machine.cache_bytes,
        "driver": machine.driver,
        "torch": machine.torch_version,
        "threads": machine.threads,
        "hermes": __version__,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def _collectives(
    request: Request, machine: Machine, reach: Reach, journal: Journal, seconds: float
) -> str:
    """Measure what the journal lacks; return why not everything was, if it was not."""
    known = frozenset(journal.finished)
    points = [
        each
        for each in collective_points(machine.devices, reach.copy_bytes)
        if each.key not in known
    ]
    found, problem = measure_collectives(machine.kind, points, seconds, request.out)
    for each, measured in found:
        journal.add(each, measured)
    return problem


def _facts(about: dict[str, Any], outcome: Outcome, rows: int, journal: Journal) -> dict[str, Any]:
    spreads = [entry["spread"] for entry in journal.entries if entry.seconds is not None]
    return {
        **about,
        "measured": outcome.measured,
        "refused (faster than the peaks allow)": outcome.refused,
        "not possible here": outcome.failed,
        "left for --resume": outcome.left,
        "interrupted": outcome.interrupted,
        **({"device lost": outcome.lost} if outcome.lost else {}),
        "rows of the table": rows,
        "median spread of repeated calls": f"{median(spreads):.1%}" if spreads else "none",
        f"peak TFLOP/s ({outcome.peaks.source})": {
            name: round(value / 1e12, 4) for name, value in outcome.peaks.flops.items()
        },
        f"memory GB/s ({outcome.peaks.source})": round(outcome.peaks.memory / 1e9, 2),
    }
