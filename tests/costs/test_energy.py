"""Energy follows from power and time, and its units hold together."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.catalog import find_device, find_model
from hermes.costs.energy import BUSY, COMPUTE, IDLE, PoolWork, compute_share, joules, power_share
from hermes.scenario.loading import build_scenario
from hermes.sim import simulate

WORK = PoolWork(
    model=find_model("llama-3.1-8b"),
    device=find_device("h100"),
    dtype="bf16",
    tensor_parallel_size=1,
    replicas=2,
    seconds=100.0,
    busy_seconds=120.0,
    tokens=10**6,
)


def test_an_idle_fleet_draws_its_idle_power():
    idle = dataclasses.replace(WORK, busy_seconds=0.0, tokens=0)
    assert joules(idle) == pytest.approx(700 * IDLE * 100.0 * 2)


def test_watts_times_seconds():
    """700 W devices: 120 s busy, 80 s idle, at the share of peak that 10^6 tokens are."""
    weights = WORK.model.active_parameters - WORK.model.embedding_parameters
    share = 2 * weights * 1e6 / 989e12 / 120
    assert compute_share(WORK) == pytest.approx(share)
    expected = 700 * (120 * (IDLE + BUSY + COMPUTE * share) + 80 * IDLE)
    assert joules(WORK) == pytest.approx(expected)


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_dimensions(time, amount):
    """Energy is of the dimension power x time: twice as long and as much is twice the energy."""
    scaled = dataclasses.replace(
        WORK,
        seconds=WORK.seconds * time,
        busy_seconds=WORK.busy_seconds * time,
        tokens=round(WORK.tokens * time),
    )
    assert joules(scaled) == pytest.approx(joules(WORK) * time, rel=1e-3)
    device = dataclasses.replace(WORK.device, power_w=700 * amount)
    powered = dataclasses.replace(WORK, device=device)
    assert joules(powered) == pytest.approx(joules(WORK) * amount)


def test_no_device_draws_more_than_its_tdp():
    busy = dataclasses.replace(WORK, busy_seconds=200.0, tokens=10**10)
    assert joules(busy) == pytest.approx(700 * 200)
    assert power_share(2.0) == 1.0


def test_a_device_without_a_tdp_has_no_energy():
    unknown = dataclasses.replace(WORK.device, power_w=None)
    assert joules(dataclasses.replace(WORK, device=unknown)) is None


def test_measured_power_is_met(shared_data, monkeypatch):
    from pathlib import Path

    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    import fit_power

    folder = shared_data / "e2e" / "argonne_llm_inference_bench"
    found = fit_power.rows(folder / "power_results_A100_H100.csv")
    assert len(found) > 30
    import numpy as np

    assert fit_power.error(np.array([BUSY, COMPUTE]), found) < 0.12


def carbon(grid, client=None):
    scenario = build_scenario(
        {
            "workload": {
                "requests": {"sample": "chat"},
                "arrivals": {"process": "poisson", "rate_per_s": 4.0},
                "limit": {"requests": 20},
            },
            "clients": {
                "c": {"model": "llama-3.1-8b", "device": "h100", "grid_g_co2_per_kwh": client}
            },
            "grid_g_co2_per_kwh": grid,
        }
    )
    return simulate(scenario).summary


def test_carbon_has_the_dimension_of_energy_times_intensity():
    """J -> kWh -> g: twice the intensity is twice the carbon, and a client's own goes first."""
    summary = carbon(400.0)
    kwh = summary["energy_j_per_request"] / 3.6e6
    assert summary["co2_g_per_request"] == pytest.approx(400 * kwh)
    double = carbon(800.0)["co2_g_per_million_tokens"]
    assert double == pytest.approx(2 * summary["co2_g_per_million_tokens"])
    assert carbon(800.0, client=400.0)["co2_g_per_request"] == summary["co2_g_per_request"]
    assert carbon(None)["co2_g_per_request"] is None
    assert carbon(0.0)["co2_g_per_request"] == 0.0
