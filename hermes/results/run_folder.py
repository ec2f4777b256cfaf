"""What `hermes simulate --out` writes: the summary, one row a request, one row a stage of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hermes.errors import HermesError
from hermes.metrics import PARTS, RequestColumns, StageColumns
from hermes.metrics.requests import NEVER, Ticks
from hermes.scenario.units import TICKS_PER_NANOSECOND

__all__ = ["FILES", "write_requests", "write_run", "write_stages", "write_summary"]


FILES = ("summary.json", "requests.parquet", "stages.parquet")
"""What a run's folder holds."""


def write_run(folder: Path, summary: Mapping[str, Any], requests: RequestColumns) -> None:
    """Write `FILES` into a folder, which is made if absent.

    Raises:
        HermesError: the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        summary_file, requests_file, stages_file = (folder / name for name in FILES)
        write_summary(summary_file, summary)
        write_requests(requests_file, requests)
        write_stages(stages_file, requests)
    except OSError as error:
        raise HermesError(f"{folder}: cannot write the results: {error.strerror}") from None


def write_summary(path: Path, summary: Mapping[str, Any]) -> None:
    """Write the metrics as JSON; undefined ones are null."""
    path.write_text(json.dumps(dict(summary), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def write_requests(path: Path, requests: RequestColumns) -> None:
    """Write one row a request, in the order of the workload.

    Times are whole nanoseconds from the start of the workload. The five parts, `queue_ns` to
    `preemption_ns`, add up to `finished_ns - arrival_ns` exactly; times of what never happened are
    null.
    """
    import pyarrow as pa

    done, told = requests.completed, requests.answered
    arrival, finished = _nanoseconds(requests.arrival), _nanoseconds(requests.finished)
    totals = [requests.stages.of_requests(part, len(done)) for part in PARTS]
    parts = _rounded_parts(requests.arrival, totals)
    names = np.array([*requests.replica_names, ""], dtype=object)
    kinds = np.array([*requests.kind_names, ""], dtype=object)

    def known(values: Any, where: Any) -> Any:
        return pa.array(values, pa.int64(), mask=~where)

    columns = {
        "request_id": pa.array(np.arange(len(done)), pa.int64()),
        "status": pa.array(requests.status, pa.string()),
        "reason": pa.array(requests.reason, pa.string()),
        "arrival_ns": pa.array(arrival, pa.int64()),
        "first_token_ns": known(_nanoseconds(requests.first_token), told),
        "last_token_ns": known(_nanoseconds(requests.last_token), told),
        "finished_ns": known(finished, done),
        "prompt_tokens": pa.array(requests.prompt_tokens, pa.int64()),
        "output_tokens": pa.array(requests.output_tokens, pa.int64()),
        "generated_tokens": pa.array(requests.generated_tokens, pa.int64()),
        "reused_tokens": pa.array(requests.reused_tokens, pa.int64()),
        "fetched_tokens": pa.array(requests.fetched_tokens, pa.int64()),
        "class": pa.array(kinds[requests.kind], pa.string(), mask=requests.kind < 0),
        "retries": pa.array(requests.retries, pa.int64()),
        "pipeline": pa.array(np.array(requests.pipeline_names)[requests.pipeline], pa.string()),
        "replica": pa.array(names[requests.replica], pa.string(), mask=~told),
        **{f"{name}_ns": known(part, done) for name, part in zip(PARTS, parts, strict=True)},
        "preemptions": pa.array(requests.preemptions, pa.int64()),
        "right": pa.array(requests.right == 1, pa.bool_(), mask=requests.right < 0),
    }
    _write(path, columns)


def write_stages(path: Path, requests: RequestColumns) -> None:
    """Write one row for each stage that a request passed, in order of requests and of time.

    Times are whole nanoseconds; the five parts of a row add up to `end_ns - begin_ns` exactly.
    `critical` stages are those that the request's end waited for: of parallel branches, one.
    """
    import pyarrow as pa

    stages: StageColumns = requests.stages
    parts = _rounded_parts(stages.begin, [stages.part(name) for name in PARTS])
    servers = np.array([*stages.server_names, ""], dtype=object)
    labels = [name.split("/", 1) for name in stages.stage_names]
    names = np.array(labels, dtype=object).reshape(-1, 2)
    columns = {
        "request_id": pa.array(stages.request, pa.int64()),
        "pipeline": pa.array(names[stages.stage, 0], pa.string()),
        "stage": pa.array(names[stages.stage, 1], pa.string()),
        "server": pa.array(servers[stages.server], pa.string(), mask=stages.server < 0),
        "critical": pa.array(stages.critical, pa.bool_()),
        "begin_ns": pa.array(_nanoseconds(stages.begin), pa.int64()),
        "end_ns": pa.array(_nanoseconds(stages.end), pa.int64()),
        **{
            f"{name}_ns": pa.array(part, pa.int64())
            for name, part in zip(PARTS, parts, strict=True)
        },
    }
    _write(path, columns)


def _write(path: Path, columns: Mapping[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path, compression="zstd", write_page_checksum=True)


def _rounded_parts(begin: Ticks, parts: list[Ticks]) -> list[Ticks]:
    """Round parts to nanoseconds so that they add up to the rounded end less the rounded begin."""
    rounded = []
    at = begin
    before = _nanoseconds(at)
    for part in parts:
        at = at + part
        now = _nanoseconds(at)
        rounded.append(now - before)
        before = now
    return rounded


def _nanoseconds(ticks: Ticks) -> Ticks:
    """Round ticks to nanoseconds, halves up; what never happened stays so."""
    rounded = (ticks + TICKS_PER_NANOSECOND // 2) // TICKS_PER_NANOSECOND
    return np.where(ticks == NEVER, NEVER, rounded)
