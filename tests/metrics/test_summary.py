"""The summary of a run, against numbers worked out by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hermes.metrics import METRICS, FleetUse, RequestColumns, StageColumns, TokenGaps, summarize
from hermes.metrics.requests import NEVER
from hermes.scenario.scenario import SloSpec

MS = 10**9
FLEET = FleetUse(devices=4, usd_per_hour=8.0, replicas=2, steps=10, busy_ticks=500 * MS)


def columns(rows: list[tuple[int, int, int, int, int, int]]) -> RequestColumns:
    """Rows of (arrival, scheduled, first, last: ms), prompt and output tokens; -1: never."""
    table = np.array(rows, np.int64).reshape(-1, 6)
    times = np.where(table[:, :4] == NEVER, NEVER, table[:, :4] * MS)
    size = len(table)
    return RequestColumns(
        arrival=times[:, 0],
        scheduled=times[:, 1],
        first_token=times[:, 2],
        last_token=times[:, 3],
        finished=times[:, 3],
        prompt_tokens=table[:, 4],
        output_tokens=table[:, 5],
        generated_tokens=table[:, 5],
        reused_tokens=np.zeros(size, np.int64),
        fetched_tokens=np.zeros(size, np.int64),
        preemptions=np.zeros(size, np.int64),
        pipeline=np.zeros(size, np.int64),
        pipeline_names=("default",),
        replica=np.zeros(size, np.int64),
        replica_names=("chat/0",),
        right=np.full(size, -1),
        retries=np.zeros(size, np.int64),
        failed=np.zeros(size, np.bool_),
        reason=("",) * size,
        stages=stages(times),
        kind=np.full(size, -1),
    )


def stages(times) -> StageColumns:
    """One visit for each request that was served, from its first step on computed."""
    served = np.flatnonzero(times[:, 3] != NEVER)
    none = np.zeros(len(served), np.int64)
    arrival, scheduled, _, last = times[served].T
    return StageColumns(
        request=served,
        stage=none,
        server=none,
        critical=np.ones(len(served), np.bool_),
        begin=arrival,
        queue=scheduled - arrival,
        compute=last - scheduled,
        transfer=none,
        retrieval=none,
        preemption=none,
        stage_names=("default/generate",),
        server_names=("chat/0",),
    )


ROWS = [
    (0, 10, 100, 500, 50, 5),  # ttft 100, tpot 100, e2el 500
    (100, 150, 400, 400, 30, 1),  # ttft 300, one token, e2el 300
    (200, 200, 250, 1000, 20, 4),  # ttft 50, tpot 250, e2el 800
    (300, NEVER, NEVER, NEVER, 10**6, 10),  # rejected
]


def summary(slo: SloSpec | None = None, rows=ROWS, fleet: FleetUse = FLEET):
    return summarize(columns(rows), [TokenGaps()], slo or SloSpec(), fleet)


def test_every_metric_is_reported_and_no_other() -> None:
    assert set(summary()) == set(METRICS)


def test_latencies_are_those_of_vllms_benchmark() -> None:
    result = summary()
    assert result["ttft_ms.mean"] == pytest.approx(150)
    assert result["e2el_ms.p50"] == 500
    assert result["tpot_ms.mean"] == pytest.approx(175)  # one-token outputs have none
    assert result["queue_ms.mean"] == pytest.approx(20)
    assert result["tokens_per_s_per_user"] == pytest.approx(1000 / 175)


def test_rates_count_from_the_first_arrival_to_the_last_token() -> None:
    result = summary()
    assert result["duration_s"] == 1.0
    assert (result["request_throughput"], result["output_throughput"]) == (3.0, 10.0)
    assert result["total_token_throughput"] == 110.0
    assert result["output_throughput_per_device"] == 2.5
    assert result["utilization"] == 0.25
    assert (result["requests"], result["completed"], result["rejected"]) == (4, 3, 1)


def test_cost_is_the_price_of_the_whole_fleet_for_the_whole_time() -> None:
    result = summary()
    assert result["cost_per_million_output_tokens"] == pytest.approx(8 / 3600 / 10 * 1e6)
    assert result["cost_per_million_tokens"] == pytest.approx(8 / 3600 / 110 * 1e6)


@pytest.mark.parametrize(
    ("limits", "good"),
    [
        ({}, 3),
        ({"ttft_ms": 100}, 2),
        ({"ttft_ms": 99}, 1),
        ({"tpot_ms": 100}, 2),
        ({"e2el_ms": 499}, 1),
        ({"ttft_ms": 100, "tpot_ms": 100}, 1),
    ],
)
def test_goodput_counts_requests_within_every_limit(limits: dict[str, int], good: int) -> None:
    result = summary(SloSpec.model_validate(limits))
    assert result["request_goodput"] == good
    assert result["slo_attainment"] == good / 4  # a rejected request is not served well


def test_a_device_without_a_price_leaves_cost_undefined() -> None:
    fleet = FleetUse(devices=4, usd_per_hour=None, replicas=2, steps=10, busy_ticks=0)
    assert summary(fleet=fleet)["cost_per_million_tokens"] is None


def test_nothing_completed_leaves_rates_undefined() -> None:
    result = summary(rows=ROWS[3:])
    assert result["ttft_ms.p99"] is None
    assert result["request_throughput"] is None
    assert result["slo_attainment"] == 0


def test_carbon_is_energy_times_the_grid_s_intensity() -> None:
    fleet = dataclasses.replace(FLEET, joules=7.2e6, co2_grams=2 * 400.0)
    result = summary(fleet=fleet)
    assert result["co2_g_per_request"] == pytest.approx(800 / 3)
    assert result["co2_g_per_million_output_tokens"] == pytest.approx(800 / 10 * 1e6)
    assert result["co2_g_per_million_tokens"] == pytest.approx(800 / 110 * 1e6)
    # kWh for a million tokens x g for a kWh = g for a million tokens
    energy = result["energy_kwh_per_million_output_tokens"]
    assert energy * 400 == pytest.approx(result["co2_g_per_million_output_tokens"])
    assert summary()["co2_g_per_request"] is None
