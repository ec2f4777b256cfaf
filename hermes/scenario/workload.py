"""The workload block of a scenario: what the requests are, when they come, where they go."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias, get_args

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from hermes.scenario.arrivals import (
    MAX_DURATION_S,
    ArrivalSpec,
    BurstArrivals,
    ClosedLoopArrivals,
    TraceArrivals,
)
from hermes.scenario.base import NonNegative, Spec
from hermes.scenario.choice import by_key, name_among
from hermes.scenario.lora import AdaptersSpec
from hermes.scenario.synthetic import (
    LengthRequests,
    Lengths,
    PrefixRepetitionRequests,
    RandomRequests,
    ServeGenRequests,
)

__all__ = [
    "DEFAULT_REQUESTS",
    "MAX_REQUESTS",
    "SAMPLES",
    "Drawn",
    "LengthRequests",
    "Lengths",
    "LimitSpec",
    "RequestsSpec",
    "SampleRequests",
    "TraceRequests",
    "WorkloadSpec",
]

DEFAULT_REQUESTS = 1000
"""Requests drawn from length distributions when no limit is given."""
MAX_REQUESTS = 10_000_000
"""Most requests in one workload."""
SAMPLES = ("chat", "code")
"""Workload samples that ship with Hermes."""


class TraceRequests(Spec):
    """Requests read from a file."""

    trace: Annotated[str, Field(examples=["azure-2023", "hermes"])]
    """Layout of the file, by the name of its reader: `hermes` (a plain CSV), `azure-2023`,
    `mooncake`, ...; docs/workloads.md lists them."""
    path: Annotated[str, Field(min_length=1)]
    """The file, possibly gzipped; a relative path starts at the scenario's folder."""
    block_tokens: Annotated[int, Field(ge=1, le=2**20)] | None = None
    """Tokens in one block of the trace's block ids, or of what its sessions share; default: what
    the layout says. It must divide the engine's `block_size`, or the other way round."""
    chars_per_token: Annotated[float, Field(ge=0.1, le=100)] | None = None
    """Characters in one token, for layouts that count characters; default: 4."""


class SampleRequests(Spec):
    """Requests of a sample that ships with Hermes."""

    sample: Annotated[Literal["chat", "code"], name_among("sample", SAMPLES)]
    """`chat` or `code`: synthetic, fitted to the published statistics of Azure's 2023 traces."""


Drawn: TypeAlias = LengthRequests | RandomRequests | PrefixRepetitionRequests
"""Requests without times of their own."""

RequestsSpec = Annotated[
    TraceRequests | SampleRequests | ServeGenRequests | Drawn,
    by_key(
        "requests",
        {
            "trace": TraceRequests,
            "sample": SampleRequests,
            "lengths": LengthRequests,
            "random": RandomRequests,
            "prefix_repetition": PrefixRepetitionRequests,
            "servegen": ServeGenRequests,
        },
    ),
]
"""Where requests come from, told by the key."""
_DRAWN = get_args(Drawn)


class LimitSpec(Spec):
    """How much of the traffic to simulate; with both fields, whichever ends first."""

    requests: Annotated[int, Field(ge=1, le=MAX_REQUESTS)] | None = None
    """At most so many requests."""
    duration_s: Annotated[float, Field(gt=0, le=MAX_DURATION_S)] | None = None
    """Only requests that arrive before this time."""

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.requests is None and self.duration_s is None:
            raise PydanticCustomError("no_limit", "limit needs `requests`, `duration_s` or both")
        return self


class WorkloadSpec(Spec):
    """The traffic a deployment meets."""

    requests: RequestsSpec
    """What the requests are: `trace` and `path`, a bundled `sample`, `lengths`, `random`,
    `prefix_repetition` or `servegen`."""
    arrivals: ArrivalSpec | None = None
    """When they come; default: at the times of the trace or sample. Any other process replaces
    those times and keeps the lengths, in order."""
    limit: LimitSpec | None = None
    """Where to stop; default: at the end of a trace or of piecewise arrivals, otherwise after
    1,000 requests."""
    mix: Annotated[dict[str, NonNegative], Field(min_length=1)] | None = None
    """Pipelines by weight; default: the only pipeline, or the trace's `pipeline` column."""
    warm_cache: Annotated[int, Field(ge=1, le=MAX_REQUESTS)] | None = None
    """The first so many requests came before: they are not simulated, but the KV of their prompts
    is in the caches when the others begin. `limit.requests` counts the others. Default: caches are
    empty."""
    difficulty: Annotated[dict[str, NonNegative], Field(min_length=1)] | None = None
    """Difficulty classes by weight, for routing and for the quality of answers; default: all
    requests alike."""
    adapters: AdaptersSpec | None = None
    """Which LoRA adapter each request uses; default: as the trace's column `attribute.adapter`
    says, or none."""

    @field_validator("arrivals", mode="after")
    @classmethod
    def _trace_has_times(
        cls, value: ArrivalSpec | None, info: ValidationInfo
    ) -> ArrivalSpec | None:
        synthetic = isinstance(info.data.get("requests"), _DRAWN)
        if synthetic and isinstance(value, TraceArrivals):
            raise PydanticCustomError(
                "no_trace",
                "process 'trace' needs requests from a trace or a sample; requests drawn from"
                " lengths have no times of their own",
            )
        return value

    @field_validator("limit", mode="after")
    @classmethod
    def _burst_ends(cls, value: LimitSpec | None, info: ValidationInfo) -> LimitSpec | None:
        synthetic = isinstance(info.data.get("requests"), _DRAWN)
        burst = isinstance(info.data.get("arrivals"), BurstArrivals)
        if value is not None and isinstance(info.data.get("arrivals"), ClosedLoopArrivals):
            _require_no_duration(value)
        if value is not None and value.requests is None and synthetic and burst:
            raise PydanticCustomError(
                "endless_burst",
                "a burst of requests drawn from lengths never ends: give limit.requests",
            )
        return value

    @field_validator("mix", "difficulty", mode="after")
    @classmethod
    def _some_weight(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        if value is not None and not any(value.values()):
            raise PydanticCustomError("no_weight", "at least one weight must be above 0")
        return value

    @model_validator(mode="after")
    def _times_come_from_somewhere(self) -> Self:
        if isinstance(self.requests, _DRAWN) and self.arrivals is None:
            raise PydanticCustomError(
                "missing_arrivals",
                "requests drawn from lengths have no times of their own: say when they come with"
                " `arrivals`, for example {process: poisson, rate_per_s: 4}",
            )
        return self


def _require_no_duration(limit: LimitSpec) -> None:
    if limit.duration_s is not None:
        raise PydanticCustomError(
            "closed_loop_duration",
            "when the requests of a closed loop come depends on the answers: give limit.requests"
            " instead of limit.duration_s",
        )
