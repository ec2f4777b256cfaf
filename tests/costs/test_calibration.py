"""Calibration: from a user's numbers to factors, and back into a scenario."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hermes.catalog import find_device, find_model
from hermes.cli import app
from hermes.costs.build import build_step_cost
from hermes.costs.calibration import calibrate, read_factors, read_observations
from hermes.costs.calibration.fit import _step_parts, _token_parts
from hermes.costs.calibration.observations import Run, StepTime
from hermes.costs.roofline import Roofline
from hermes.errors import InputError
from hermes.scenario.costs import CalibratedCostSpec, TableCostSpec

LLAMA, H100 = find_model("llama-3.1-8b"), find_device("h100")
ROOFLINE = Roofline(LLAMA, H100)
TRUE = (1.5e-3, 1.2, 0.9, 1.4)  # host seconds, factors on linear layers, decodes, prompts


def step_log(path: Path, noise: float = 0.0) -> Path:
    lines = ["Prefill;Context;Decode;Time (ms)"]
    for i in range(200):
        prefill, decode = [(0, 1 + i % 64), (64 + 37 * i, 0), (256, 1 + i % 32)][i % 3]
        context = decode * (200 + 11 * i)
        parts = _step_parts(ROOFLINE, StepTime(prefill, context, decode, 1.0))
        seconds = sum(x * y for x, y in zip(TRUE, parts, strict=True))
        seconds *= 1 + noise * (-1) ** i
        lines.append(f"{prefill};{context};{decode};{seconds * 1e3:.6f}")
    path.write_text("\n".join(lines) + "\n")
    return path


def found(paths: list[Path]):
    return calibrate(ROOFLINE, read_observations(paths), LLAMA.name, H100.name, 1)


def test_what_made_the_steps_is_found_again(tmp_path):
    result = found([step_log(tmp_path / "steps.csv")])
    factors = result.factors
    assert factors.step_us == pytest.approx(1500, rel=0.05)
    assert factors.linear == pytest.approx(1.2, rel=0.02)
    assert factors.decode == pytest.approx(0.9, rel=0.1)
    assert factors.prefill == pytest.approx(1.4, rel=0.1)
    assert factors.held_out_error < 0.01 < result.unfitted_error


def test_the_held_out_error_knows_the_noise(tmp_path):
    factors = found([step_log(tmp_path / "steps.csv", noise=0.1)]).factors
    assert factors.fitted_error == pytest.approx(0.1, rel=0.1)
    assert factors.held_out_error == pytest.approx(0.1, rel=0.1)


def test_few_observations_move_little(tmp_path):
    """One step alone cannot say that prompts are slow."""
    path = tmp_path / "steps.csv"
    seconds = ROOFLINE.token_seconds(8) + ROOFLINE.row_seconds(8) + ROOFLINE.decode_seconds(8, 808)
    path.write_text(f"Prefill;Context;Decode;Time (ms)\n0;800;8;{1.3e3 * seconds}\n")
    factors = found([path]).factors
    assert factors.prefill == pytest.approx(1.0)
    assert factors.fitted_error < 0.2


def bench(path: Path, concurrency: int, prompt: int = 1000, output: int = 200) -> Path:
    run = Run(concurrency, prompt, output, 1.0, 1.0)
    tpot = sum(x * y for x, y in zip(TRUE, _token_parts(ROOFLINE, run), strict=True))
    prefill = sum(
        x * y for x, y in zip(TRUE, _step_parts(ROOFLINE, StepTime(prompt, 0, 0, 1.0)), strict=True)
    )
    content = {
        "max_concurrency": concurrency,
        "completed": 100,
        "duration": 10.0,
        "total_input_tokens": 100 * prompt,
        "total_output_tokens": 100 * output,
        "mean_ttft_ms": 1e3 * (prefill + tpot / 2) + 25,
        "mean_tpot_ms": 1e3 * tpot,
    }
    path.write_text(json.dumps(content))
    return path


def test_runs_of_a_load_generator_are_fitted_and_leave_the_front_end(tmp_path):
    factors = found([bench(tmp_path / f"{c}.json", c) for c in (1, 4, 16, 64, 128)]).factors
    assert factors.held_out_error < 0.05
    assert factors.request_ms == pytest.approx(25, abs=3)


def test_aiperf_exports_are_read(tmp_path):
    metrics = {
        "time_to_first_token": {"avg": 50.0, "unit": "ms"},
        "inter_token_latency": {"avg": 10.0, "unit": "ms"},
        "input_sequence_length": {"avg": 1000.0, "unit": "tokens"},
        "output_sequence_length": {"avg": 200.0, "unit": "tokens"},
        "input_config": {"loadgen": {"concurrency": 8}},
    }
    exported = tmp_path / "profile_export_aiperf.json"
    exported.write_text(json.dumps(metrics))
    table = tmp_path / "profile_export_aiperf.csv"
    table.write_text(
        "Metric,avg,min,max\nTime to First Token (ms),50.0,40,60\n"
        "Inter Token Latency (ms),10.0,9,11\n"
        'Input Sequence Length (tokens),"1,000",900,1100\nOutput Sequence Length (tokens),200,1,2\n'
        "Request Latency (ms),2000,1,2\n\nMetric,Value\nRequest Throughput (requests/sec),4.0\n"
    )
    one, two = read_observations([exported, table]).runs
    assert one == two == Run(8.0, 1000.0, 200.0, 0.05, 0.01)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.json", "{}", r"a.json: is neither the result of `vllm bench serve`"),
        ("a.json", "{", r"a.json: is no JSON"),
        ("a.json", '{"mean_ttft_ms": 3}', r"a.json: completed: is missing"),
        ("a.csv", "Prefill;Decode;Time (ms)\n1;2;3\n", r"a.csv:1: Context: needs the columns"),
        ("a.csv", "Prefill;Context;Decode;Time (ms)\n1;2;3;0\n", r"a.csv:2.*got 0"),
        ("a.csv", "Prefill;Context;Decode;Time (ms)\n1;2;3;nan\n", r"a.csv:2.*got NaN"),
        (
            "a.csv",
            "Prefill;Context;Decode;Time (ms)\n0;2;0;3\n",
            r"a.csv:2.*needs prompt or decode",
        ),
        ("a.csv", "Prefill;Context;Decode;Time (ms)\n", r"holds no measurement"),
        ("a.csv", "some,thing\n1,2\n", r"a.csv: Time to First Token \(ms\): is missing"),
    ],
)
def test_bad_measurements_are_refused_with_their_place(tmp_path, name, text, says):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=says):
        read_observations([path])


def test_the_file_comes_back_through_a_scenario(tmp_path):
    factors = found([step_log(tmp_path / "steps.csv")]).factors
    factors.write(tmp_path / "mine.json")
    assert read_factors(tmp_path / "mine.json") == factors
    spec = CalibratedCostSpec(calibrated="mine.json")
    costs = build_step_cost(spec, LLAMA, H100, "bf16", "bf16", 1, tmp_path)
    assert costs.label == "roofline: calibrated on meta-llama/Llama-3.1-8B on 1 x h100-sxm"
    other = build_step_cost(spec, LLAMA, find_device("a100"), "bf16", "bf16", 1, tmp_path)
    assert other.label.endswith("(not this deployment)")
    parts = _step_parts(ROOFLINE, StepTime(0, 8000, 8, 1.0))
    exact = sum(x * y for x, y in zip(TRUE, parts, strict=True))
    segment = costs.decode_segment(8, 8000)
    assert (segment.base + 8000 * segment.slope) / 1e12 == pytest.approx(exact, rel=0.01)


def test_a_step_log_named_as_a_table_is_fitted(tmp_path):
    step_log(tmp_path / "steps.csv")
    spec = TableCostSpec(table="steps.csv")
    costs = build_step_cost(spec, LLAMA, H100, "bf16", "bf16", 1, tmp_path)
    parts = _step_parts(ROOFLINE, StepTime(0, 8000, 8, 1.0))
    exact = sum(x * y for x, y in zip(TRUE, parts, strict=True))
    segment = costs.decode_segment(8, 8000)
    assert (segment.base + 8000 * segment.slope) / 1e12 == pytest.approx(exact, rel=0.01)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"hermes_calibration": 7}, "is no calibration"),
        ({"linear": -1}, "linear: expected a number of at least 0"),
        ({"linear": "fast"}, "linear: expected a number, got 'fast'"),
        ({"lineer": 1.0}, "lineer: unknown field; did you mean 'linear'"),
    ],
)
def test_a_file_that_was_tampered_with_is_refused(tmp_path, change, says):
    path = tmp_path / "mine.json"
    found([step_log(tmp_path / "steps.csv")]).factors.write(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=says):
        read_factors(path)


def test_the_command_fits_prints_writes_and_plots(tmp_path):
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text(
        "workload: {requests: {sample: chat}}\nclients: {c: {model: llama-3.1-8b, device: h100}}\n"
    )
    log, out, plot = (tmp_path / name for name in ("steps.csv", "out.json", "plot.png"))
    arguments = ["calibrate", str(step_log(log)), "--scenario", str(scenario)]
    arguments += ["--out", str(out), "--plot", str(plot), "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["observations"] == 200
    assert read_factors(out).linear == pytest.approx(1.2, rel=0.02)
    assert plot.read_bytes().startswith(b"\x89PNG")
