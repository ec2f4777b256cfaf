"""From the request log of one simulation to its metrics."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hermes.metrics.gap_ranks import describe_gaps
from hermes.metrics.gaps import TokenGaps
from hermes.metrics.quantiles import describe
from hermes.metrics.requests import RequestColumns
from hermes.scenario.scenario import SloSpec
from hermes.scenario.units import TICKS_PER_MILLISECOND, TICKS_PER_SECOND

__all__ = ["FleetUse", "Number", "good_requests", "summarize"]

Number = float | int | None

_JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True, slots=True)
class FleetUse:
    """What the replicas did, and what they cost."""

    devices: int
    usd_per_hour: float | None  # None where a device has no price
    replicas: int
    steps: int
    busy_ticks: int
    joules: float | None = None  # None where a device has no TDP


def summarize(
    requests: RequestColumns, gaps: Iterable[TokenGaps], slo: SloSpec, fleet: FleetUse
) -> dict[str, Number]:
    """Return every metric of `METRICS`, in its order; None where it is undefined.

    A latency is described over completed requests; TPOT over those with more than one output
    token. Throughput counts from the first arrival to the last token.
    """
    done = requests.completed
    arrival, first, last = (
        requests.arrival[done],
        requests.first_token[done],
        requests.last_token[done],
    )
    outputs = requests.output_tokens[done]
    ttft, e2el = _ms(first - arrival), _ms(last - arrival)
    several = outputs > 1
    tpot = np.zeros(len(outputs))
    tpot[several] = _ms(last - first)[several] / (outputs[several] - 1)

    described = {
        "ttft_ms": describe(ttft.tolist()),
        "tpot_ms": describe(tpot[several].tolist()),
        "itl_ms": describe_gaps(gaps, TICKS_PER_MILLISECOND),
        "e2el_ms": describe(e2el.tolist()),
        "queue_ms": describe(_ms(requests.scheduled[done] - arrival).tolist()),
    }
    result: dict[str, Number] = {
        f"{name}.{statistic}": value
        for name, statistics in described.items()
        for statistic, value in statistics.items()
    }
    good = int(np.count_nonzero(_meets(slo, ttft, tpot, e2el)))
    result |= _rates(requests, good, fleet)
    result |= _energy(int(np.count_nonzero(done)), int(outputs.sum()), result["duration_s"], fleet)
    mean_tpot = described["tpot_ms"]["mean"]
    result["tokens_per_s_per_user"] = 1000 / mean_tpot if mean_tpot else None
    return result


def good_requests(requests: RequestColumns, slo: SloSpec) -> NDArray[np.bool_]:
    """Return which of all requests met the SLO; one that was rejected did not."""
    done = requests.completed
    first, last = requests.first_token[done], requests.last_token[done]
    outputs = requests.output_tokens[done]
    several = outputs > 1
    tpot = np.zeros(len(outputs))
    tpot[several] = _ms(last - first)[several] / (outputs[several] - 1)
    arrival = requests.arrival[done]
    good = np.zeros(len(done), np.bool_)
    good[done] = _meets(slo, _ms(first - arrival), tpot, _ms(last - arrival))
    return good


def _ms(ticks: NDArray[np.int64]) -> NDArray[np.float64]:
    return ticks / TICKS_PER_MILLISECOND


def _meets(
    slo: SloSpec,
    ttft: NDArray[np.float64],
    tpot: NDArray[np.float64],
    e2el: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Which completed requests met every limit; one token has a TPOT of zero, as in vLLM."""
    good = np.ones(len(ttft), np.bool_)
    for limit, values in ((slo.ttft_ms, ttft), (slo.tpot_ms, tpot), (slo.e2el_ms, e2el)):
        if limit is not None:
            good &= values <= limit
    return good


def _rates(requests: RequestColumns, good: int, fleet: FleetUse) -> dict[str, Number]:
    done = requests.completed
    total, completed = len(done), int(np.count_nonzero(done))
    prompt = int(requests.prompt_tokens[done].sum())
    output = int(requests.output_tokens[done].sum())
    ticks = int(requests.last_token.max() - requests.arrival[0]) if completed else 0
    seconds = ticks / TICKS_PER_SECOND

    def per_second(amount: int) -> Number:
        return amount / seconds if seconds > 0 else None

    def price_per_million(tokens: int) -> Number:
        if fleet.usd_per_hour is None or not tokens:
            return None
        return fleet.usd_per_hour * seconds / 3600 / tokens * 1e6

    output_rate = per_second(output)
    busy_share = fleet.busy_ticks / (ticks * fleet.replicas) if ticks else None
    return {
        "request_throughput": per_second(completed),
        "output_throughput": output_rate,
        "total_token_throughput": per_second(prompt + output),
        "request_goodput": per_second(good),
        "slo_attainment": good / total if total else None,
        "output_throughput_per_device": None
        if output_rate is None
        else output_rate / fleet.devices,
        "tokens_per_s_per_user": None,
        "cost_per_hour": fleet.usd_per_hour,
        "cost_per_million_output_tokens": price_per_million(output),
        "cost_per_million_tokens": price_per_million(prompt + output),
        "devices": fleet.devices,
        "utilization": busy_share,
        "requests": total,
        "completed": completed,
        "rejected": total - completed,
        "preemptions": int(requests.preemptions.sum()),
        "duration_s": seconds,
        "prompt_tokens": prompt,
        "output_tokens": output,
        "steps": fleet.steps,
    }


def _energy(completed: int, output: int, seconds: Number, fleet: FleetUse) -> dict[str, Number]:
    """Return what a request costs in money and energy, and what the devices drew on average."""
    energy, price = fleet.joules, fleet.usd_per_hour
    return {
        "cost_per_request": price * seconds / 3600 / completed
        if price is not None and seconds and completed
        else None,
        "energy_j_per_request": energy / completed if energy and completed else None,
        "energy_kwh_per_million_output_tokens": energy / _JOULES_PER_KWH / output * 1e6
        if energy and output
        else None,
        "power_w": energy / seconds if energy and seconds else None,
    }
