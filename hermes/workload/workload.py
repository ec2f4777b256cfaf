"""The workload: the requests of one simulation, as columns."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Column", "Workload"]

Column: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Workload:
    """Requests in order of arrival; a request's id is its position. The columns are read-only.

    Attributes:
        arrival_ticks: When each arrives, in ticks (picoseconds) from the start.
        prompt_tokens: Prompt tokens of each, at least 1.
        output_tokens: Output tokens of each, at least 1.
        pipeline: Index of each one's pipeline in `pipeline_names`.
        pipeline_names: Names of the scenario's pipelines.
        source: Where the requests come from, in one line for people.
    """

    arrival_ticks: Column
    prompt_tokens: Column
    output_tokens: Column
    pipeline: Column
    pipeline_names: tuple[str, ...]
    source: str

    def __post_init__(self) -> None:
        columns = self._columns()
        if len({len(column) for column in columns}) != 1:
            raise ValueError(f"columns differ in length: {[len(column) for column in columns]}")
        for column in columns:
            column.setflags(write=False)

    def __len__(self) -> int:
        return len(self.arrival_ticks)

    def digest(self) -> str:
        """Return the SHA-256 of the columns and pipeline names: equal means equal traffic."""
        total = hashlib.sha256("\0".join(self.pipeline_names).encode())
        for column in self._columns():
            total.update(np.ascontiguousarray(column, dtype="<i8").tobytes())
        return total.hexdigest()

    def _columns(self) -> tuple[Column, ...]:
        return self.arrival_ticks, self.prompt_tokens, self.output_tokens, self.pipeline
