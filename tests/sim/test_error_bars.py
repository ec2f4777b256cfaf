"""Error bars: the cost model's error, carried through the simulation."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from hermes.catalog import find_device, find_model
from hermes.cli import app
from hermes.costs.compiled import CompiledStepCost
from hermes.costs.roofline import Roofline
from hermes.costs.spread import PerturbedStepCost
from hermes.scenario.loading import build_scenario
from hermes.sim import simulate
from hermes.sim.error_bars import simulate_with_error_bars


def scenario(**client):
    return build_scenario(
        {
            "seed": 3,
            "workload": {
                "requests": {"sample": "chat"},
                "arrivals": {"process": "poisson", "rate_per_s": 4.0},
                "limit": {"requests": 60},
            },
            "clients": {"c": {"model": "llama-3.1-8b", "device": "h100"} | client},
        }
    )


def test_the_value_is_that_of_the_plain_simulation_and_lies_inside_its_bar():
    result, bars, extrapolated = simulate_with_error_bars(scenario())
    assert result.summary == simulate(scenario()).summary
    for name in ("ttft_ms.p50", "tpot_ms.mean", "itl_ms.p99"):
        bar = bars[name]
        assert bar.low < bar.value < bar.high
        assert 0 < bar.deviation < 0.3 * bar.value
    assert not extrapolated


def test_the_same_scenario_has_the_same_bars():
    assert simulate_with_error_bars(scenario())[1] == simulate_with_error_bars(scenario())[1]


def test_a_device_without_a_fit_has_wider_bars_and_says_so():
    _, known, _ = simulate_with_error_bars(scenario())
    _, guessed, extrapolated = simulate_with_error_bars(scenario(device="mi300x"))

    def relative(bars):
        bar = bars["tpot_ms.mean"]
        return (bar.high - bar.low) / bar.value

    assert relative(guessed) > 1.5 * relative(known)
    assert extrapolated


def test_costs_taken_at_their_word_have_no_bar():
    bar = simulate_with_error_bars(scenario(costs={"linear": {"step_us": 4000.0}}))[1][
        "ttft_ms.p50"
    ]
    assert bar.low == bar.high == bar.value


def test_a_perturbed_cost_is_the_cost_scaled():
    costs = CompiledStepCost(Roofline(find_model("llama-3.1-8b"), find_device("h100")))
    scaled = PerturbedStepCost(costs, 2.0, 0.5)
    limit, base, slope = costs.decode_segment(8, 8000)
    assert scaled.decode_segment(8, 8000) == (limit, 2 * base, 2 * slope)
    question = (8, 8000, 256, 0, 32_896, 9)
    assert scaled.step_ticks(*question) == costs.step_ticks(*question) // 2


def test_the_command_prints_them(tmp_path):
    path = tmp_path / "scenario.yaml"
    path.write_text(
        "workload: {requests: {sample: chat}, limit: {requests: 20},"
        " arrivals: {process: poisson, rate_per_s: 4}}\n"
        "clients: {c: {model: llama-3.1-8b, device: h100}}\n"
    )
    result = CliRunner().invoke(app, ["simulate", str(path), "--error-bars", "--json"])
    summary = json.loads(result.stdout)
    bar = summary["error_bars"]["ttft_ms.p50"]
    assert bar["low"] < summary["ttft_ms.p50"] < bar["high"]
    text = CliRunner().invoke(app, ["simulate", str(path), "--error-bars"]).stdout
    assert "80 % of draws" in text


def test_engines_that_are_known_worse_have_wider_bars_of_the_first_token():
    def width(engine):
        costs = {"roofline": {"engine": engine, "request_overhead_ms": 30, "step_overhead_us": 0}}
        bar = simulate_with_error_bars(scenario(costs=costs))[1]["ttft_ms.p50"]
        return (bar.high - bar.low) / bar.value

    assert width("none") < width("vllm") < width("trtllm")


def test_the_front_end_is_off_as_steps_with_prompts_are():
    costs = CompiledStepCost(
        Roofline(find_model("llama-3.1-8b"), find_device("h100")), request_seconds=0.03
    )
    assert PerturbedStepCost(costs, 1.0, 1.5).request_ticks == costs.request_ticks * 3 // 2
