"""Service times and latencies drawn from the distributions of a scenario, in ticks.

Each takes exactly one underlying draw, whatever the parameters (see `hermes.workload.lengths`).
"""

from __future__ import annotations

import math

import numpy as np

from hermes.scenario.durations import (
    MAX_MILLISECONDS,
    DurationSpec,
    ExponentialDuration,
    LognormalDuration,
    UniformDuration,
)
from hermes.scenario.units import TICKS_PER_MILLISECOND
from hermes.workload.workload import Column

__all__ = ["draw_durations"]


def draw_durations(spec: DurationSpec, count: int, rng: np.random.Generator) -> Column:
    """Draw `count` durations in ticks, none negative; what a tail draws beyond a day is cut."""
    match spec:
        case ExponentialDuration(exponential=body):
            drawn = body.mean * rng.standard_exponential(count)
        case LognormalDuration(lognormal=body):
            variance = math.log1p(body.cv**2)
            drawn = rng.lognormal(math.log(body.mean) - variance / 2, math.sqrt(variance), count)
        case UniformDuration(uniform=body):
            drawn = body.low + rng.random(count) * (body.high - body.low)
        case _:
            drawn = np.full(count, float(spec))
    drawn = np.minimum(drawn, MAX_MILLISECONDS)
    ticks: Column = np.rint(drawn * TICKS_PER_MILLISECOND).astype(np.int64)
    return ticks
