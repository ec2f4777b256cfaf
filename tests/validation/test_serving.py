"""The simulator against serving runs that were measured; `docs/costs.md` has all figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_every_request_of_a_vllm_run_with_a_table_of_its_kernels(shared_data):
    """300 requests of vLLM 0.19 on a GeForce RTX 4090, kernels measured apart from the run."""
    from recorded_runs import request_errors

    errors = request_errors(shared_data / "hardware")
    assert np.median(np.abs(errors["RTX 4090", "table", "TTFT"])) < 0.02
    assert np.median(np.abs(errors["RTX 4090", "table", "TPOT"])) < 0.03
    assert abs(errors["RTX 4090", "table", "mean TTFT"][0]) < 0.03
    assert abs(errors["RTX 4090", "table", "mean TPOT"][0]) < 0.01


@pytest.mark.parametrize(
    ("engine", "model", "tpot", "ttft"),
    [
        ("vllm", "MiniMaxAI/MiniMax-M2.5", 0.08, 0.25),
        ("vllm", "openai/gpt-oss-120b", 0.15, 0.45),
        ("trtllm", "meta-llama/Llama-3.1-70B", 0.15, 0.25),
    ],
)
def test_closed_loops_beyond_eight_clients(engine, model, tpot, ttft, shared_data):
    """Runs with more clients than any constant was fitted on."""
    from accuracy import serving_cost
    from serving_rows import replay, serving_rows

    runs = shared_data / "e2e" / "aiconfigurator_silicon" / "silicon_sample.shared.csv.gz"
    rows = [
        row
        for row in serving_rows(runs)
        if (row.engine, row.model) == (engine, model) and row.documented and row.concurrency > 8
    ]
    found = np.array([replay(row, serving_cost(row)) for row in rows])
    measured = np.array([(row.ttft_ms, row.tpot_ms) for row in rows])
    errors = np.median(np.abs(found / measured - 1), axis=0)
    assert len(rows) >= 9
    assert errors[0] < ttft
    assert errors[1] < tpot


def test_static_batches_of_vllm_on_one_device(shared_data):
    from recorded_runs import static_batch_errors

    path = shared_data / "e2e" / "argonne_llm_inference_bench" / "All_results.shared.csv"
    errors = static_batch_errors(path)
    for device in ("a100-sxm-40", "h100-sxm"):
        assert np.median(np.abs(errors[device, "vLLM", "1"])) < 0.12
