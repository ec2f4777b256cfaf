"""Arrival processes: when requests come, as a user writes them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from hermes.scenario.base import NonNegative, Positive, Spec
from hermes.scenario.choice import by_field

__all__ = [
    "MAX_DURATION_S",
    "ArrivalSpec",
    "BurstArrivals",
    "ClosedLoopArrivals",
    "ConstantArrivals",
    "DiurnalArrivals",
    "GammaArrivals",
    "Piece",
    "PiecewiseArrivals",
    "PoissonArrivals",
    "RampUpArrivals",
    "TraceArrivals",
]

MAX_DURATION_S = 9_000_000.0
"""Longest workload, 104 days: picoseconds in 64 bits reach no further than 106."""

Duration = Annotated[float, Field(gt=0, le=MAX_DURATION_S)]


class PoissonArrivals(Spec):
    """Poisson: independent exponential gaps."""

    process: Literal["poisson"]
    """`poisson`."""
    rate_per_s: Positive
    """Mean requests per second."""
    exact_duration: bool = False
    """Stretch the gaps so that the last of n requests comes at n / rate exactly, as vLLM's
    benchmark does."""


class GammaArrivals(Spec):
    """Independent gamma gaps: burstier than Poisson where `cv` > 1, more regular where < 1."""

    process: Literal["gamma"]
    """`gamma`."""
    rate_per_s: Positive
    """Mean requests per second."""
    cv: Annotated[float, Field(ge=0.01, le=100)]
    """Coefficient of variation of the gaps; vLLM's `--burstiness` is 1 / cv^2."""
    exact_duration: bool = False
    """Stretch the gaps so that the last of n requests comes at n / rate exactly, as vLLM's
    benchmark does."""


class RampUpArrivals(Spec):
    """Gamma gaps at a rate that changes from request to request, as vLLM's `--ramp-up-strategy`.

    It needs a number of requests: the rate of each follows from its place among them.
    """

    process: Literal["ramp_up"]
    """`ramp_up`."""
    strategy: Literal["linear", "exponential"] = "linear"
    """Whether the rate grows by the same difference or the same factor from request to request."""
    start_rate_per_s: Positive
    """Requests per second at the first request; vLLM's `--ramp-up-start-rps`."""
    end_rate_per_s: Positive
    """Requests per second at the last request; vLLM's `--ramp-up-end-rps`."""
    cv: Annotated[float, Field(ge=0.01, le=100)] = 1.0
    """Coefficient of variation of the gaps; 1 is Poisson."""


class ConstantArrivals(Spec):
    """Equal gaps, the first request at time 0."""

    process: Literal["constant"]
    """`constant`."""
    rate_per_s: Positive
    """Requests per second."""


class TraceArrivals(Spec):
    """The trace's own times."""

    process: Literal["trace"]
    """`trace`."""
    scale: Positive = 1.0
    """Multiplier of the rate: 2 replays the trace twice as fast."""


class BurstArrivals(Spec):
    """All requests at time 0, as vLLM's `--request-rate inf`."""

    process: Literal["burst"]
    """`burst`."""


class ClosedLoopArrivals(Spec):
    """Users who ask, wait for the answer, think, and ask again: a fixed concurrency.

    Without thinking it is a benchmark at `--max-concurrency` with an infinite request rate.
    """

    process: Literal["closed_loop"]
    """`closed_loop`."""
    users: Annotated[int, Field(ge=1, le=10_000_000)]
    """How many ask at the same time."""
    think_s: Annotated[float, Field(ge=0, le=86_400)] = 0.0
    """Mean time from an answer to the next question of the same user, and before the first."""
    think: Literal["exponential", "constant"] = "exponential"
    """How that time varies."""


class Piece(Spec):
    """A stretch of time with one rate."""

    duration_s: Duration
    """How long it lasts."""
    rate_per_s: NonNegative
    """Mean requests per second in it; 0 is a pause."""


class PiecewiseArrivals(Spec):
    """Poisson with a rate that steps from piece to piece; it ends with the last piece."""

    process: Literal["piecewise"]
    """`piecewise`."""
    pieces: Annotated[tuple[Piece, ...], Field(min_length=1, strict=False)]
    """The pieces, in order of time."""

    @model_validator(mode="after")
    def _something_arrives(self) -> Self:
        if not any(piece.rate_per_s for piece in self.pieces):
            raise PydanticCustomError(
                "no_arrivals", "at least one piece must have a rate_per_s above 0"
            )
        if sum(piece.duration_s for piece in self.pieces) > MAX_DURATION_S:
            raise PydanticCustomError(
                "too_long",
                "all pieces together must last at most {limit} s",
                {"limit": int(MAX_DURATION_S)},
            )
        return self


class DiurnalArrivals(Spec):
    """Poisson with a rate that swings as a sine, starting at its mean and rising."""

    process: Literal["diurnal"]
    """`diurnal`."""
    mean_rate_per_s: Positive
    """Requests per second, averaged over a period."""
    peak_to_mean: Annotated[float, Field(ge=1, le=2)]
    """Highest rate / mean rate; at 2 the lowest rate is 0."""
    period_s: Duration = 86_400.0
    """Time from peak to peak."""


ArrivalSpec = Annotated[
    PoissonArrivals
    | GammaArrivals
    | ConstantArrivals
    | TraceArrivals
    | BurstArrivals
    | ClosedLoopArrivals
    | PiecewiseArrivals
    | DiurnalArrivals
    | RampUpArrivals,
    by_field(
        "arrivals",
        "process",
        {
            "poisson": PoissonArrivals,
            "gamma": GammaArrivals,
            "constant": ConstantArrivals,
            "trace": TraceArrivals,
            "burst": BurstArrivals,
            "closed_loop": ClosedLoopArrivals,
            "piecewise": PiecewiseArrivals,
            "diurnal": DiurnalArrivals,
            "ramp_up": RampUpArrivals,
        },
    ),
]
"""An arrival process, told by its `process`."""
