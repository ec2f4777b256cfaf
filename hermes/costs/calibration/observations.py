"""A user's own numbers: steps of an engine's log, and runs of a load generator.

Read are step logs (`Prefill;Context;Decode;Time (ms)`), the JSON of `vllm bench serve
--save-result`, and the JSON and CSV that AIPerf exports.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hermes.costs.tables.frame import number, read_rows
from hermes.errors import InputError

__all__ = ["Observations", "Run", "StepTime", "is_step_log", "read_observations"]

_STEP_COLUMNS = ("Prefill", "Context", "Decode", "Time (ms)")


@dataclass(frozen=True, slots=True)
class StepTime:
    """One measured step."""

    prefill_tokens: int
    context_tokens: int
    """Held by the scheduled sequences before the step, summed."""
    decode_sequences: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a load generator in a closed loop."""

    concurrency: float
    prompt_tokens: float
    output_tokens: float
    ttft_s: float
    tpot_s: float


@dataclass(frozen=True, slots=True)
class Observations:
    """All that was measured."""

    steps: tuple[StepTime, ...]
    runs: tuple[Run, ...]
    source: str


def read_observations(paths: list[Path]) -> Observations:
    """Read every file.

    Raises:
        InputError: A file is of no layout that is known, or holds senseless numbers.
    """
    steps: list[StepTime] = []
    runs: list[Run] = []
    for path in paths:
        if not path.is_file():
            raise InputError("no such file", file=str(path))
        if path.suffix == ".json":
            runs.append(_json_run(path))
        elif is_step_log(path):
            steps.extend(_steps(path))
        else:
            runs.append(_aiperf_csv(path))
    if not steps and not runs:
        raise InputError("holds no measurement", file=", ".join(map(str, paths)))
    return Observations(tuple(steps), tuple(runs), ", ".join(path.name for path in paths))


def is_step_log(path: Path) -> bool:
    """Return whether a file is a log of steps, by its first line."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(
            path, "rt", encoding="utf-8-sig"
        ) as file:
            first = str(file.readline())
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"cannot be read as text: {error}", file=str(path)) from error
    return all(name in first for name in ("Prefill", "Decode", "Time"))


def _steps(path: Path) -> Iterator[StepTime]:
    for line, row in read_rows(path, delimiter=";"):
        missing = [name for name in _STEP_COLUMNS if name not in row]
        if missing:
            wanted = ";".join(_STEP_COLUMNS)
            raise InputError(f"needs the columns {wanted}", missing[0], str(path), 1)
        prefill, context, decode, time = (number(row, name, path, line) for name in _STEP_COLUMNS)
        if not (math.isfinite(time) and time > 0):
            message = f"expected a positive time, got {time:g}"
            raise InputError(message, "Time (ms)", str(path), line)
        if min(prefill, context, decode) < 0 or prefill + decode <= 0:
            raise InputError("a step needs prompt or decode tokens", "Prefill", str(path), line)
        yield StepTime(int(prefill), int(context), int(decode), time * 1e-3)


def _json_run(path: Path) -> Run:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"is no JSON: {error}", file=str(path)) from error
    if isinstance(content, dict) and "mean_ttft_ms" in content:
        return _vllm(content, path)
    if isinstance(content, dict) and "time_to_first_token" in content:
        return _aiperf_json(content, path)
    raise InputError(
        "is neither the result of `vllm bench serve` (mean_ttft_ms) nor of AIPerf"
        " (time_to_first_token)",
        file=str(path),
    )


def _vllm(content: Mapping[str, Any], path: Path) -> Run:
    completed = _positive(content, "completed", path)
    concurrency = content.get("max_concurrency")
    if concurrency is None:  # by Little's law
        busy = _positive(content, "mean_ttft_ms", path) * 1e-3 * completed
        busy += (
            _positive(content, "mean_tpot_ms", path)
            * 1e-3
            * _positive(content, "total_output_tokens", path)
        )
        concurrency = max(1.0, busy / _positive(content, "duration", path))
    return Run(
        concurrency=float(concurrency),
        prompt_tokens=_positive(content, "total_input_tokens", path) / completed,
        output_tokens=_positive(content, "total_output_tokens", path) / completed,
        ttft_s=_positive(content, "mean_ttft_ms", path) * 1e-3,
        tpot_s=_positive(content, "mean_tpot_ms", path) * 1e-3,
    )


def _aiperf_json(content: Mapping[str, Any], path: Path) -> Run:
    def mean(name: str) -> float:
        metric = content.get(name)
        if not isinstance(metric, dict):
            raise InputError("is missing", name, str(path))
        return _positive(metric, "avg", path) * (1e-3 if metric.get("unit") == "ms" else 1.0)

    load = content.get("input_config", {}).get("loadgen", {})
    return Run(
        concurrency=_positive(load, "concurrency", path),
        prompt_tokens=mean("input_sequence_length"),
        output_tokens=mean("output_sequence_length"),
        ttft_s=mean("time_to_first_token"),
        tpot_s=mean("inter_token_latency"),
    )


def _aiperf_csv(path: Path) -> Run:
    """Read the summary that AIPerf exports: one row a metric, its unit in its name."""
    found: dict[str, float] = {}
    for cells in csv.reader(path.read_text(encoding="utf-8-sig").splitlines()):
        if len(cells) > 1:
            try:
                found[cells[0].strip()] = float(cells[1].replace(",", ""))
            except ValueError:
                continue  # a heading or a text
    names = {
        "Time to First Token (ms)": 1e-3,
        "Inter Token Latency (ms)": 1e-3,
        "Input Sequence Length (tokens)": 1.0,
        "Output Sequence Length (tokens)": 1.0,
    }
    ttft, tpot, prompt, output = (_positive(found, name, path) * by for name, by in names.items())
    latency = found.get("Request Latency (ms)", 1e3 * (ttft + tpot * output)) * 1e-3
    rate = found.get("Request Throughput (requests/sec)")
    if rate is None:
        raise InputError("is missing", "Request Throughput (requests/sec)", str(path))
    return Run(max(1.0, latency * rate), prompt, output, ttft, tpot)


def _positive(content: Mapping[str, Any], name: str, path: Path) -> float:
    value = content.get(name)
    if value is None:
        raise InputError("is missing", name, str(path))
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(f"expected a number, got {value!r}", name, str(path))
    if not math.isfinite(value) or value <= 0:
        raise InputError(f"expected a positive number, got {value!r}", name, str(path))
    return float(value)
