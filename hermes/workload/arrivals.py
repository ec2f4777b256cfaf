"""Arrival times in ticks from an arrival process.

Every process draws in units of its own mean gap and scales afterwards, so that two rates meet the
same draws. A gap is rounded to ticks once; sums of gaps are exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from hermes.errors import InputError
from hermes.scenario.arrivals import (
    MAX_DURATION_S,
    ArrivalSpec,
    BurstArrivals,
    ClosedLoopArrivals,
    ConstantArrivals,
    DiurnalArrivals,
    GammaArrivals,
    PiecewiseArrivals,
    PoissonArrivals,
    RampUpArrivals,
    TraceArrivals,
)
from hermes.scenario.units import TICKS_PER_SECOND, seconds_to_ticks
from hermes.scenario.workload import MAX_REQUESTS
from hermes.workload.streams import stream
from hermes.workload.workload import ClosedLoop, Column

__all__ = ["arrival_ticks", "closed_loop"]

_Floats: TypeAlias = npt.NDArray[np.float64]

_CHUNK = 4096
_LAST_TICK = 9.2e18  # as a float, safely below 2^63
_FIELD = "workload.arrivals"


def arrival_ticks(
    spec: ArrivalSpec,
    seed: int,
    count: int | None = None,
    end_ticks: int | None = None,
    trace: Column | None = None,
) -> Column:
    """Return arrival times, in order.

    Args:
        spec: The process.
        seed: The scenario's seed.
        count: At most so many arrivals; None: until the process or `end_ticks` ends.
        end_ticks: Only arrivals before this time.
        trace: Times of the trace, for the `trace` process.

    Raises:
        InputError: if the arrivals never end, are too many, or reach beyond 106 days.
    """
    end = end_ticks
    rng = stream(seed, "workload", "arrivals")
    match spec:
        case PoissonArrivals(rate_per_s=rate, exact_duration=exact):
            until = None if exact else end
            times = _take(_renewal(rng.standard_exponential, rate, until), _known(count, exact))
            times = _stretched(times, rate) if exact else times
        case GammaArrivals(rate_per_s=rate, cv=cv, exact_duration=exact):
            until = None if exact else end
            times = _take(_renewal(_gamma(rng, cv), rate, until), _known(count, exact))
            times = _stretched(times, rate) if exact else times
        case ConstantArrivals(rate_per_s=rate):
            times = _equal_gaps(rate, count, end)
        case TraceArrivals(scale=scale):
            times = _scaled(trace, scale)[:count]
        case BurstArrivals():
            times = _burst(count, "a burst")
        case ClosedLoopArrivals():
            if end is not None:
                raise InputError(
                    "when the requests of a closed loop come depends on the answers: give "
                    "limit.requests instead of limit.duration_s",
                    "workload.limit",
                )
            times = _burst(count, "a closed loop")
        case PiecewiseArrivals():
            times = _piecewise(spec, rng, count, end)
        case DiurnalArrivals():
            thinning = stream(seed, "workload", "thinning")
            times = _take(_diurnal(spec, rng, thinning, end), count)
        case RampUpArrivals():
            times = _ramp_up(spec, rng, count)
    return times if end is None else times[: np.searchsorted(times, end)]


def _gamma(rng: np.random.Generator, cv: float) -> Callable[[int], _Floats]:
    shape = 1 / cv**2
    return lambda size: rng.standard_gamma(shape, size) / shape


def _renewal(draw: Callable[[int], Any], rate: float, end: int | None) -> Iterator[Column]:
    """Yield chunks of arrivals whose gaps are draws of mean 1, divided by the rate."""
    ticks_per_gap = min(TICKS_PER_SECOND / rate, 1e30)
    last = 0
    while True:
        times, cut = _add_up(last, np.rint(draw(_CHUNK) * ticks_per_gap))
        yield times
        if len(times) and (end is not None and times[-1] >= end):
            return
        if cut:
            if end is None:
                raise _too_long()
            return
        last = int(times[-1])


def _add_up(last: int, gaps: _Floats) -> tuple[Column, bool]:
    """Sum whole gaps exactly; stop, and say so, before 64 bits overflow."""
    safe = int(np.searchsorted(last + np.cumsum(gaps), _LAST_TICK))
    return last + np.cumsum(gaps[:safe].astype(np.int64)), safe < len(gaps)


def _take(chunks: Iterable[Column], count: int | None) -> Column:
    """Join chunks until there are `count` arrivals or no more."""
    parts: list[Column] = []
    total = 0
    most = MAX_REQUESTS if count is None else count
    for chunk in chunks:
        parts.append(chunk)
        total += len(chunk)
        if total >= most:
            break
    if count is None and total > MAX_REQUESTS:
        raise _too_many()
    joined = np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
    return joined[:count]


def _equal_gaps(rate: float, count: int | None, end: int | None) -> Column:
    gap = round(min(TICKS_PER_SECOND / rate, 1e30))
    most = MAX_REQUESTS + 1 if count is None else count
    if end is not None and gap > 0:
        most = min(most, -(-end // gap))
    if most > MAX_REQUESTS:
        raise _too_many()
    if (most - 1) * gap > _LAST_TICK:
        raise _too_long()
    return np.arange(most, dtype=np.int64) * np.int64(gap if most > 1 else 0)


def closed_loop(spec: ArrivalSpec | None, seed: int, count: int) -> ClosedLoop | None:
    """Return the users of a closed loop, and how long they think before each request."""
    if not isinstance(spec, ClosedLoopArrivals):
        return None
    mean = spec.think_s * TICKS_PER_SECOND
    if spec.think == "constant" or mean == 0:
        return ClosedLoop(spec.users, np.full(count, round(mean), dtype=np.int64))
    drawn = stream(seed, "workload", "think").standard_exponential(count)
    return ClosedLoop(spec.users, np.rint(drawn * mean).astype(np.int64))


def _burst(count: int | None, what: str) -> Column:
    if count is None:
        raise InputError(f"{what} never ends: give limit.requests", "workload.limit")
    return np.zeros(count, dtype=np.int64)


def _scaled(times: Column | None, scale: float) -> Column:
    if times is None:
        raise InputError("process 'trace' needs requests from a trace", _FIELD)
    if scale == 1:
        return times
    gaps = np.diff(times, prepend=np.int64(0)).astype(np.float64)
    scaled, cut = _add_up(0, np.rint(gaps * min(1 / scale, 1e30)))
    if cut:
        raise _too_long()
    return scaled


def _piecewise(
    spec: PiecewiseArrivals, rng: np.random.Generator, count: int | None, end: int | None
) -> Column:
    """Map a Poisson process of rate 1 through the inverse of the expected number of arrivals."""
    last = seconds_to_ticks(MAX_DURATION_S) if end is None else end
    rates = np.array([piece.rate_per_s for piece in spec.pieces])
    lasting = np.array([seconds_to_ticks(piece.duration_s) for piece in spec.pieces])
    ends = np.minimum(lasting.cumsum(), last)
    starts = np.concatenate([[0], ends[:-1]])
    expected = np.cumsum(np.minimum(rates, 1e200) * ((ends - starts) / TICKS_PER_SECOND))
    if count is None and expected[-1] > MAX_REQUESTS:
        raise _too_many()
    events = _unit_events(rng, float(expected[-1]), count)
    # The first piece that ends later than the event: never one of rate 0, which has no width.
    piece = np.searchsorted(expected, events, side="right")
    offset = (events - np.concatenate([[0.0], expected[:-1]])[piece]) / rates[piece]
    ticks = starts[piece] + np.rint(offset * TICKS_PER_SECOND).astype(np.int64)
    times: Column = np.minimum(ticks, ends[piece])
    return times


def _unit_events(rng: np.random.Generator, end: float, count: int | None) -> _Floats:
    """Return the events of a Poisson process of rate 1 before `end`, at most `count`."""
    parts: list[_Floats] = []
    last, total = 0.0, 0
    while last < end and (count is None or total < count):
        events = last + np.cumsum(rng.standard_exponential(_CHUNK))
        parts.append(events)
        last, total = float(events[-1]), total + _CHUNK
    joined = np.concatenate(parts) if parts else np.zeros(0)
    return joined[: np.searchsorted(joined, end)][:count]


def _diurnal(
    spec: DiurnalArrivals,
    rng: np.random.Generator,
    thinning: np.random.Generator,
    end: int | None,
) -> Iterator[Column]:
    """Thin a Poisson process of the peak rate (Lewis and Shedler 1979).

    A candidate at time t stays with the chance rate(t) / peak rate.
    """
    swing = spec.peak_to_mean - 1
    per_tick = 2 * math.pi / spec.period_s / TICKS_PER_SECOND
    peak_rate = min(spec.mean_rate_per_s * spec.peak_to_mean, 1e300)
    for candidates in _renewal(rng.standard_exponential, peak_rate, end):
        chances = [
            1 + swing * math.sin(per_tick * time)  # math, not NumPy: the same on every CPU
            for time in candidates.tolist()
        ]
        drawn = thinning.random(len(candidates)) * spec.peak_to_mean
        yield candidates[drawn < np.array(chances)]


def _known(count: int | None, needed: bool) -> int | None:
    if count is None and needed:
        message = "exact_duration and ramp_up need a number of requests: give limit.requests"
        raise InputError(message, "workload.limit")
    return count


def _stretched(times: Column, rate: float) -> Column:
    """Scale times so that the last of n is n gaps of the mean length after the start."""
    if not len(times) or not times[-1]:
        return times
    target = len(times) * min(TICKS_PER_SECOND / rate, 1e30)
    if target > _LAST_TICK:
        raise _too_long()
    scaled: Column = np.rint(times * (target / float(times[-1]))).astype(np.int64)
    return scaled


def _ramp_up(spec: RampUpArrivals, rng: np.random.Generator, count: int | None) -> Column:
    """Divide gaps of mean 1 by the rate at each request's place among all."""
    number = _known(count, True) or 0
    start, end = spec.start_rate_per_s, spec.end_rate_per_s
    places = (index / max(number - 1, 1) for index in range(number))
    if spec.strategy == "linear":
        rates = [start + (end - start) * place for place in places]
    else:
        rates = [start * math.pow(end / start, place) for place in places]
    gaps = _gamma(rng, spec.cv)(number) * np.minimum(TICKS_PER_SECOND / np.array(rates), 1e30)
    times, cut = _add_up(0, np.rint(gaps))
    if cut:
        raise _too_long()
    return times


def _too_long() -> InputError:
    message = "requests arrive more than 106 days after the start: raise the rate or set a limit"
    return InputError(message, _FIELD)


def _too_many() -> InputError:
    message = f"more than {MAX_REQUESTS:,} requests arrive: lower the rate or set a limit"
    return InputError(message, _FIELD)
