"""The latency breakdown: every stage of every request, and where its time went, in ticks."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PARTS", "StageColumns", "stage_means"]

PARTS = ("queue", "compute", "transfer", "retrieval", "preemption")
"""What a stage's time is made of, in the order it is reported."""

_Ticks = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class StageColumns:
    """One entry a visit of a request to a stage, in order of requests and then of time.

    The parts of a visit add up to its duration. The critical visits of a completed request follow
    one another without a gap, so that their parts add up to its end-to-end latency.

    Attributes:
        request: Which request.
        stage: Which stage, in `stage_names`.
        server: Which replica or station, in `server_names`; -1 for what needs none.
        critical: Whether the request's end waited for it; of parallel branches, one is.
        begin: When it was entered.
        queue: Waiting to be taken up.
        compute: Being worked on.
        transfer: Data moving there, or between replicas of the stage.
        retrieval: Waiting for KV from a memory tier.
        preemption: From losing its KV blocks to being taken up again.
        stage_names: `pipeline/stage`.
        server_names: `client/number`.
    """

    request: _Ticks
    stage: _Ticks
    server: _Ticks
    critical: NDArray[np.bool_]
    begin: _Ticks
    queue: _Ticks
    compute: _Ticks
    transfer: _Ticks
    retrieval: _Ticks
    preemption: _Ticks
    stage_names: tuple[str, ...]
    server_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.request)

    def between(self, low: int, high: int | None) -> StageColumns:
        """Return the visits of requests from number `low` on and before `high`, from 0 on."""
        first = int(np.searchsorted(self.request, low))
        last = len(self) if high is None else int(np.searchsorted(self.request, high))
        cut: dict[str, Any] = {
            column.name: values[first:last]
            for column in fields(self)
            if isinstance(values := getattr(self, column.name), np.ndarray)
        }
        cut["request"] = cut["request"] - low
        return replace(self, **cut)

    @property
    def end(self) -> _Ticks:
        """When each was left."""
        return self.begin + sum((self.part(name) for name in PARTS), np.zeros(len(self), np.int64))

    def part(self, name: str) -> _Ticks:
        """Return one of `PARTS`."""
        column: _Ticks = getattr(self, name)
        return column

    def of_requests(self, name: str, requests: int) -> _Ticks:
        """Return a part's total for each of so many requests, over its critical visits."""
        total = np.zeros(requests, np.int64)
        np.add.at(total, self.request[self.critical], self.part(name)[self.critical])
        return total


def stage_means(stages: StageColumns) -> dict[str, dict[str, float]]:
    """Return, for each stage that was visited, visits and mean milliseconds of each part.

    Means are over its visits, those of branches that nobody waited for included.
    """
    found: dict[str, dict[str, float]] = {}
    for number, name in enumerate(stages.stage_names):
        here = stages.stage == number
        visits = int(np.count_nonzero(here))
        if visits:
            found[name] = {"visits": visits} | {
                f"{part}_ms": float(stages.part(part)[here].sum()) / visits / 1e9 for part in PARTS
            }
    return found
