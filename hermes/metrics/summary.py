"""From the request log of one simulation to its metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hermes.metrics.catalog import METRICS
from hermes.metrics.gap_ranks import describe_gaps
from hermes.metrics.gaps import TokenGaps
from hermes.metrics.quantiles import describe
from hermes.metrics.requests import RequestColumns
from hermes.metrics.stages import PARTS
from hermes.metrics.window import window_metrics
from hermes.scenario.scenario import SloSpec
from hermes.scenario.units import JOULES_PER_KWH, TICKS_PER_MILLISECOND, TICKS_PER_SECOND

__all__ = ["FleetUse", "Number", "good_requests", "summarize"]

Number = float | int | None

_COST_SHARES = tuple(name for name in METRICS if name.startswith("cost_share."))


@dataclass(frozen=True, slots=True)
class FleetUse:
    """What the replicas did, and what they cost; how many there were on average."""

    devices: float
    usd_per_hour: float | None  # None where a device has no price
    replicas: float
    steps: int
    busy_ticks: int
    joules: float | None = None  # None where a device has no TDP
    co2_grams: float | None = None  # None where the grid's intensity is not given
    cost_shares: Mapping[str, float] | None = None  # of busy time, by where its cost is from
    adapter_loads: int | None = None  # None where no client serves adapters
    availability: float = 1.0  # share of the time that replicas were to serve, and did


def summarize(
    requests: RequestColumns,
    gaps: Iterable[TokenGaps],
    slo: SloSpec,
    fleet: FleetUse,
    window_ticks: int | None = None,
) -> dict[str, Number]:
    """Return every metric of `METRICS`, in its order; None where it is undefined.

    A latency is described over completed requests, TTFT over those with an answer, TPOT over
    answers of more than one token. Throughput counts from the first arrival to the last end.
    With `window_ticks`, requests arrive for so long; see `window_metrics`.
    """
    done, told = requests.completed, requests.answered
    arrival, finished = requests.arrival, requests.finished
    tpot = _tpot(requests)
    parts = {part: _ms(requests.stages.of_requests(part, len(done))[done]) for part in PARTS}
    described = {
        "ttft_ms": describe(_ms((requests.first_token - arrival)[told]).tolist()),
        "tpot_ms": describe(tpot[told & (requests.output_tokens > 1)]),
        "itl_ms": describe_gaps(gaps, TICKS_PER_MILLISECOND),
        "e2el_ms": describe(_ms((finished - arrival)[done]).tolist()),
        "queue_ms": describe(parts["queue"]),
    }
    result: dict[str, Number] = {
        f"{name}.{statistic}": value
        for name, statistics in described.items()
        for statistic, value in statistics.items()
    }
    for part in PARTS[1:]:
        result[f"{part}_ms.mean"] = describe(parts[part])["mean"]
    good = int(np.count_nonzero(good_requests(requests, slo)))
    result |= _rates(requests, good, fleet)
    output = int(requests.generated_tokens[done].sum())
    result |= _energy(int(np.count_nonzero(done)), output, result["duration_s"], fleet)
    result |= _carbon(result, fleet.co2_grams)
    known = requests.right[done] >= 0
    result["answer_quality"] = float(requests.right[done][known].mean()) if known.any() else None
    result |= window_metrics(requests, window_ticks)
    mean_tpot = described["tpot_ms"]["mean"]
    result["tokens_per_s_per_user"] = 1000 / mean_tpot if mean_tpot else None
    for name in _COST_SHARES:
        shares = fleet.cost_shares
        result[name] = shares[name.partition(".")[2]] if shares else None
    return result


def good_requests(requests: RequestColumns, slo: SloSpec) -> NDArray[np.bool_]:
    """Return which of all requests met the SLO; one that was not completed did not.

    One token has a TPOT of zero, as in vLLM. Classes of requests have SLOs of their own.
    """
    if not requests.kind_slos:
        return _meeting(requests, slo)
    good = np.zeros(len(requests.arrival), np.bool_)
    for number, own in enumerate(requests.kind_slos):
        good |= requests.of_kind(number) & _meeting(requests, own)
    return good


def _meeting(requests: RequestColumns, slo: SloSpec) -> NDArray[np.bool_]:
    good = requests.completed.copy()
    arrival = requests.arrival
    limits = (
        (slo.ttft_ms, requests.first_token - arrival),
        (slo.e2el_ms, requests.finished - arrival),
    )
    for limit, ticks in limits:
        if limit is not None:
            good &= _ms(ticks) <= limit
    if slo.tpot_ms is not None:
        good &= _tpot(requests) <= slo.tpot_ms
    return good


def _tpot(requests: RequestColumns) -> NDArray[np.float64]:
    """Return the time per output token after the first; 0 where there is no second."""
    tpot = np.zeros(len(requests.arrival))
    several = requests.answered & (requests.output_tokens > 1)
    ticks = (requests.last_token - requests.first_token)[several]
    tpot[several] = _ms(ticks) / (requests.output_tokens[several] - 1)
    return tpot


def _ms(ticks: NDArray[np.int64]) -> NDArray[np.float64]:
    return ticks / TICKS_PER_MILLISECOND


def _rates(requests: RequestColumns, good: int, fleet: FleetUse) -> dict[str, Number]:
    done = requests.completed
    total, completed = len(done), int(np.count_nonzero(done))
    failed = int(np.count_nonzero(requests.failed))
    prompt = int(requests.prompt_tokens[done].sum())
    output = int(requests.generated_tokens[done].sum())
    ticks = int(requests.finished.max() - requests.arrival.min()) if completed else 0
    seconds = ticks / TICKS_PER_SECOND

    def per_second(amount: int) -> Number:
        return amount / seconds if seconds > 0 else None

    def price_per_million(tokens: int) -> Number:
        if fleet.usd_per_hour is None or not tokens:
            return None
        return fleet.usd_per_hour * seconds / 3600 / tokens * 1e6

    output_rate = per_second(output)
    replica_ticks = ticks * fleet.replicas
    busy_share = fleet.busy_ticks / replica_ticks if replica_ticks else None
    return {
        "request_throughput": per_second(completed),
        "output_throughput": output_rate,
        "total_token_throughput": per_second(prompt + output),
        "request_goodput": per_second(good),
        "slo_attainment": good / total if total else None,
        "output_throughput_per_device": None
        if output_rate is None or not fleet.devices
        else output_rate / fleet.devices,
        "tokens_per_s_per_user": None,
        "cost_per_hour": fleet.usd_per_hour,
        "cost_per_million_output_tokens": price_per_million(output),
        "cost_per_million_tokens": price_per_million(prompt + output),
        "devices": fleet.devices,
        "device_hours": fleet.devices * seconds / 3600,
        "utilization": busy_share,
        "availability": fleet.availability,
        "requests": total,
        "completed": completed,
        "rejected": total - completed - failed,
        "failed": failed,
        "retries": int(requests.retries.sum()),
        "preemptions": int(requests.preemptions.sum()),
        "duration_s": seconds,
        "prompt_tokens": prompt,
        "output_tokens": output,
        "reused_tokens": int(requests.reused_tokens[done].sum()),
        "fetched_tokens": int(requests.fetched_tokens[done].sum()),
        "steps": fleet.steps,
        "adapter_loads": fleet.adapter_loads,
    }


def _energy(completed: int, output: int, seconds: Number, fleet: FleetUse) -> dict[str, Number]:
    """Return what a request costs in money and energy, and what the devices drew on average."""
    energy, price = fleet.joules, fleet.usd_per_hour
    return {
        "cost_per_request": price * seconds / 3600 / completed
        if price is not None and seconds and completed
        else None,
        "energy_j_per_request": energy / completed if energy and completed else None,
        "energy_kwh_per_million_output_tokens": energy / JOULES_PER_KWH / output * 1e6
        if energy and output
        else None,
        "power_w": energy / seconds if energy and seconds else None,
    }


def _carbon(result: Mapping[str, Number], grams: float | None) -> dict[str, Number]:
    """Return what a request and its tokens cost in CO2 equivalents."""

    def per(amount: Number, unit: float = 1.0) -> Number:
        return None if grams is None or not amount else grams / amount * unit

    output, prompt = result["output_tokens"] or 0, result["prompt_tokens"] or 0
    return {
        "co2_g_per_request": per(result["completed"]),
        "co2_g_per_million_output_tokens": per(output, 1e6),
        "co2_g_per_million_tokens": per(prompt + output, 1e6),
    }
