"""How a candidate is judged, as a user writes it."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from hermes.scenario.base import Spec

__all__ = ["BatchesSpec", "CapacitySpec", "EvaluationSpec", "ReplicatesSpec", "as_replicates"]


class CapacitySpec(Spec):
    """A search for the highest load at which the scenario's SLO attainment holds."""

    precision: Annotated[float, Field(ge=0.001, le=0.5)] = 0.02
    """How close the loads on both sides of the answer are, as a share of it."""


class ReplicatesSpec(Spec):
    """Simulations of one candidate that differ in their seed alone."""

    least: Annotated[int, Field(ge=1, le=10_000)] = 1
    """At least so many."""
    most: Annotated[int, Field(ge=1, le=10_000)] = 1
    """At most so many."""
    precision: Annotated[float, Field(gt=0, le=1)] | None = None
    """Stop between the two once the half-width of every objective's interval is at most this
    share of its mean."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.least > self.most:
            raise _wrong(f"`least` {self.least} is above `most` {self.most}")
        if self.precision is not None and self.least < 2:
            raise _wrong("an interval needs two replicates: give `least: 2` or more")
        if self.precision is None and self.least != self.most:
            raise _wrong("`least` below `most` needs a `precision` to stop at")
        return self


def as_replicates(value: Any) -> Any:
    """Read a plain number of replicates, or fill in the bounds of a precision."""
    if isinstance(value, int) and not isinstance(value, bool):
        return {"least": value, "most": value}
    if isinstance(value, dict) and "precision" in value:
        return {"least": 3, "most": 30} | value
    return value


class BatchesSpec(Spec):
    """Batches of one run, and when they tell enough."""

    count: Annotated[int, Field(ge=3, le=1000)] = 10
    """How many."""
    precision: Annotated[float, Field(gt=0, le=1)] | None = None
    """Simulate a ninth of the requests, a third, then all, and stop once the half-width of every
    objective's interval is at most this share of its value."""


class EvaluationSpec(Spec):
    """How a candidate is judged."""

    capacity: CapacitySpec | None = None
    """Search for the capacity; None: simulate the load as it is."""
    replicates: Annotated[ReplicatesSpec, BeforeValidator(as_replicates)] = ReplicatesSpec()
    """Seeds for each candidate: the scenario's, and those that follow it."""
    warm_up: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    """Share of the requests, the first to arrive, that load the system but are not counted."""
    batches: Annotated[int, Field(ge=3, le=1000)] | None = None
    """Batches of requests whose spread gives the intervals of a single seed."""
    batch_precision: Annotated[float, Field(gt=0, le=1)] | None = None
    """Simulate no more requests once the half-width of every objective's interval over batches is
    at most this share of its value."""

    error_bars: Annotated[int, Field(ge=2, le=1000)] | None = None
    """Judge so many more times with costs that are wrong as far as they may be."""
    barred: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Metrics that get error bars."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.error_bars and (self.replicates.precision or self.batch_precision):
            raise _wrong(
                "`error_bars` compare equal runs: give a fixed number of replicates or batches, "
                "not a `precision`"
            )
        if self.capacity is not None and self.batches is not None:
            raise _wrong("the interval of a capacity comes from `replicates`, not from `batches`")
        if self.batches is not None and self.replicates.most > 1:
            raise _wrong("`batches` is for one seed; with replicates, their spread is used")
        return self

    def written(self) -> dict[str, Any]:
        """Return it as plain data, for keys and study.json.

        What was added later stands there only where it is set, so that keys stay what they were.
        """
        absent = {"batch_precision"} if self.batch_precision is None else set()
        if self.error_bars is None:
            absent |= {"error_bars", "barred"}
        return self.model_dump(mode="json", exclude=absent)

    @property
    def plain(self) -> bool:
        """Whether it is one simulation, as `hermes simulate` runs it."""
        return self == EvaluationSpec()


def _wrong(message: str) -> PydanticCustomError:
    return PydanticCustomError("wrong_evaluation", message)  # type: ignore[arg-type,unused-ignore]
