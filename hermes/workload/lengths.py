"""Token counts drawn from the distributions of a scenario.

Each request takes exactly one underlying draw, whatever the parameters, so that the same request
stays comparable between two scenarios that differ in a mean or a limit.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from hermes.scenario.distributions import (
    Clipped,
    ConstantLength,
    Empirical,
    EmpiricalLength,
    ExponentialLength,
    Geometric,
    GeometricLength,
    LengthSpec,
    Lognormal,
    LognormalLength,
    NormalLength,
    Uniform,
    UniformLength,
)
from hermes.workload.choices import choose
from hermes.workload.workload import Column

__all__ = ["draw_lengths"]

_Floats: TypeAlias = npt.NDArray[np.float64]


def draw_lengths(spec: LengthSpec, count: int, rng: np.random.Generator) -> Column:
    """Draw `count` token counts, each at least 1."""
    body: Clipped
    match spec:
        case int():
            return np.full(count, spec, dtype=np.int64)
        case ConstantLength(constant=body):
            drawn = np.full(count, float(body.value))
        case LognormalLength(lognormal=body):
            drawn = _lognormal(body, count, rng)
        case UniformLength(uniform=body):
            drawn = _uniform(body, count, rng)
        case NormalLength(normal=body):
            drawn = body.mean + body.std * rng.standard_normal(count)
        case ExponentialLength(exponential=body):
            drawn = body.mean * rng.standard_exponential(count)
        case GeometricLength(geometric=body):
            drawn = _geometric(body, count, rng)
        case EmpiricalLength(empirical=body):
            drawn = _empirical(body, count, rng)
    lengths: Column = np.clip(np.rint(drawn), body.min, body.max).astype(np.int64)
    return lengths


def _lognormal(body: Lognormal, count: int, rng: np.random.Generator) -> _Floats:
    variance = math.log1p(body.cv**2)
    return rng.lognormal(math.log(body.mean) - variance / 2, math.sqrt(variance), count)


def _uniform(body: Uniform, count: int, rng: np.random.Generator) -> _Floats:
    return body.low + np.floor(rng.random(count) * (body.high - body.low + 1))


def _geometric(body: Geometric, count: int, rng: np.random.Generator) -> _Floats:
    drawn = rng.standard_exponential(count)
    if body.mean == 1:
        return np.ones(count)
    # P(floor(E / r) >= k) = exp(-r k) = (1 - 1/mean)^k with r = -log(1 - 1/mean).
    return 1 + np.floor(drawn / -math.log1p(-1 / body.mean))


def _empirical(body: Empirical, count: int, rng: np.random.Generator) -> _Floats:
    values = np.array(body.values, dtype=np.float64)
    drawn = rng.random(count)
    if body.weights is None:
        return values[np.floor(drawn * len(values)).astype(np.int64)]
    return values[choose(body.weights, drawn)]
