"""What became of each request: one column a fact, one entry a request, in ticks."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hermes.metrics.stages import StageColumns
from hermes.scenario.scenario import SloSpec

__all__ = ["COMPLETED", "FAILED", "NEVER", "REJECTED", "RequestColumns"]

COMPLETED = "completed"
REJECTED = "rejected"
FAILED = "failed"
NEVER = -1
"""Tick of what never happened."""

Ticks = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RequestColumns:
    """The requests of one simulation, in the order of the workload.

    Attributes:
        arrival: When it came.
        scheduled: Begin of the first step that held it, of the model call that gave its answer.
        first_token: When the first token of its answer came; the answer is what the last model
            call on its way gave.
        last_token: When the last token of its answer came.
        finished: When it had passed all its stages.
        prompt_tokens: Of the call that gave the answer, what earlier stages added included.
        output_tokens: Of the answer, its reasoning included.
        generated_tokens: Of all its model calls.
        reused_tokens: Prompt tokens whose KV was found in the replica's cache.
        fetched_tokens: Prompt tokens whose KV came from a memory tier.
        preemptions: Times its sequences lost their KV blocks.
        pipeline: Which pipeline, in `pipeline_names`.
        pipeline_names: Names of the pipelines.
        replica: Which replica gave its answer, in `replica_names`; -1 for none.
        replica_names: Names of the replicas.
        right: Whether the answer is right, 1 or 0; -1 where that is not known.
        retries: Times its model calls began again because a replica was lost.
        failed: Whether it was lost after it had begun.
        reason: Why it was not served, or not to its end; empty for completed requests.
        stages: The stages it passed.
        kind: Which class of requests it is of, in `kind_names`; -1: of none.
        kind_names: Names of the classes of requests.
        kind_slos: What counts as good service for each class.
    """

    arrival: Ticks
    scheduled: Ticks
    first_token: Ticks
    last_token: Ticks
    finished: Ticks
    prompt_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    generated_tokens: NDArray[np.int64]
    reused_tokens: NDArray[np.int64]
    fetched_tokens: NDArray[np.int64]
    preemptions: NDArray[np.int64]
    pipeline: NDArray[np.int64]
    pipeline_names: tuple[str, ...]
    replica: NDArray[np.int64]
    replica_names: tuple[str, ...]
    right: NDArray[np.int64]
    retries: NDArray[np.int64]
    failed: NDArray[np.bool_]
    reason: tuple[str, ...]
    stages: StageColumns
    kind: NDArray[np.int64]
    kind_names: tuple[str, ...] = ()
    kind_slos: tuple[SloSpec, ...] = ()

    def of_kind(self, number: int) -> NDArray[np.bool_]:
        """Return which requests are of a class."""
        found: NDArray[np.bool_] = self.kind == number
        return found

    def between(self, low: int, high: int | None) -> RequestColumns:
        """Return the requests from number `low` on and before `high`, numbered from 0."""
        cut: dict[str, Any] = {"stages": self.stages.between(low, high)}
        for column in fields(self):
            values = getattr(self, column.name)
            if isinstance(values, np.ndarray) or column.name == "reason":
                cut[column.name] = values[low:high]
        return replace(self, **cut)

    @property
    def completed(self) -> NDArray[np.bool_]:
        """Which requests passed all their stages."""
        done: NDArray[np.bool_] = self.finished != NEVER
        return done

    @property
    def status(self) -> NDArray[np.str_]:
        """What became of each: `COMPLETED`, `REJECTED` or `FAILED`."""
        ended: NDArray[np.str_] = np.where(self.failed, FAILED, REJECTED)
        return np.where(self.completed, COMPLETED, ended)

    @property
    def answered(self) -> NDArray[np.bool_]:
        """Which of them got tokens: all, but for pipelines without a model call."""
        done: NDArray[np.bool_] = self.completed & (self.first_token != NEVER)
        return done
