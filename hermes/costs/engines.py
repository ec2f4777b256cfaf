"""What a serving engine does to the device's time: its host, its front end, its launches.

The laws of operators are measured with vLLM's kernels, launched one by one. Other engines fuse and
overlap launches: `launch` scales the fixed time of every operator.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources

__all__ = ["Overheads", "find_overheads"]


@dataclass(frozen=True, slots=True)
class Overheads:
    """Time around the device's work, and where the figures come from."""

    engine: str
    step_us: float
    """Of every step, that computation does not hide."""
    request_ms: float
    """Of every request before it can be scheduled and after it is answered."""
    launch: float
    """Fixed time of an operator, relative to what was measured in vLLM."""
    deep_gemm: bool
    """Whether weights with a scale per block are multiplied as fast as those with one scale, as
    DeepGEMM does; vLLM's own kernels were measured slower."""
    first_token_error: float
    """Median absolute relative error of the time to first token that is left, where the others were
    fitted."""
    source: str


def find_overheads(engine: str) -> Overheads:
    """Return the overheads kept for an engine."""
    return _packaged()[engine]


@cache
def _packaged() -> dict[str, Overheads]:
    path = resources.files("hermes.costs").joinpath("data", "engines.csv")
    rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    return {
        row["engine"]: Overheads(
            row["engine"],
            float(row["step_us"]),
            float(row["request_ms"]),
            float(row["launch"]),
            row["deep_gemm"] == "true",
            float(row["first_token_error"]),
            row["source"],
        )
        for row in rows
    }
