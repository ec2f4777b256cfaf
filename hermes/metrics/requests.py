"""What became of each request: one column a fact, one entry a request, in ticks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["COMPLETED", "NEVER", "REJECTED", "RequestColumns"]

COMPLETED = "completed"
REJECTED = "rejected"
NEVER = -1
"""Tick of what never happened."""

Ticks = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RequestColumns:
    """The requests of one simulation, in the order of the workload."""

    arrival: Ticks
    scheduled: Ticks  # first step that held it began
    first_token: Ticks
    last_token: Ticks
    prompt_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    preemptions: NDArray[np.int64]
    pipeline: NDArray[np.int64]
    pipeline_names: tuple[str, ...]
    replica: NDArray[np.int64]  # index of the replica, -1 when rejected
    replica_names: tuple[str, ...]
    reason: tuple[str, ...]  # why it was rejected; empty for completed requests

    @property
    def completed(self) -> NDArray[np.bool_]:
        """Which requests got all their tokens."""
        done: NDArray[np.bool_] = self.last_token != NEVER
        return done
