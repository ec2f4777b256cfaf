"""What `hermes simulate --out` writes: the summary, and one row a request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hermes.errors import HermesError
from hermes.metrics import RequestColumns
from hermes.metrics.requests import COMPLETED, NEVER, REJECTED, Ticks
from hermes.scenario.units import TICKS_PER_NANOSECOND

__all__ = ["write_requests", "write_run", "write_summary"]


def write_run(folder: Path, summary: Mapping[str, Any], requests: RequestColumns) -> None:
    """Write `summary.json` and `requests.parquet` into a folder, which is made if absent.

    Raises:
        HermesError: the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_summary(folder / "summary.json", summary)
        write_requests(folder / "requests.parquet", requests)
    except OSError as error:
        raise HermesError(f"{folder}: cannot write the results: {error.strerror}") from None


def write_summary(path: Path, summary: Mapping[str, Any]) -> None:
    """Write the metrics as JSON; undefined ones are null."""
    path.write_text(json.dumps(dict(summary), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def write_requests(path: Path, requests: RequestColumns) -> None:
    """Write one row a request, in the order of the workload.

    Times are whole nanoseconds from the start of the workload. `queue_ns + prefill_ns + decode_ns`
    is exactly `last_token_ns - arrival_ns`; times of what never happened are null.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    done = requests.completed
    missing = ~done
    arrival = _nanoseconds(requests.arrival)
    scheduled = _nanoseconds(requests.scheduled)
    first, last = _nanoseconds(requests.first_token), _nanoseconds(requests.last_token)

    def optional(values: Ticks) -> Any:
        return pa.array(values, pa.int64(), mask=missing)

    names = np.array([*requests.replica_names, ""], dtype=object)
    columns = {
        "request_id": pa.array(np.arange(len(done)), pa.int64()),
        "status": pa.array(np.where(done, COMPLETED, REJECTED), pa.string()),
        "reason": pa.array(requests.reason, pa.string()),
        "arrival_ns": pa.array(arrival, pa.int64()),
        "first_token_ns": optional(first),
        "last_token_ns": optional(last),
        "prompt_tokens": pa.array(requests.prompt_tokens, pa.int64()),
        "output_tokens": pa.array(requests.output_tokens, pa.int64()),
        "pipeline": pa.array(np.array(requests.pipeline_names)[requests.pipeline], pa.string()),
        "replica": pa.array(names[requests.replica], pa.string(), mask=missing),
        "queue_ns": optional(scheduled - arrival),
        "prefill_ns": optional(first - scheduled),
        "decode_ns": optional(last - first),
        "preemptions": pa.array(requests.preemptions, pa.int64()),
    }
    pq.write_table(pa.table(columns), path, compression="zstd", write_page_checksum=True)


def _nanoseconds(ticks: Ticks) -> Ticks:
    """Round ticks to nanoseconds, halves up; what never happened stays so."""
    rounded = (ticks + TICKS_PER_NANOSECOND // 2) // TICKS_PER_NANOSECOND
    return np.where(ticks == NEVER, NEVER, rounded)
