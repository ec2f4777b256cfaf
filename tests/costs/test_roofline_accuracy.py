"""The roofline against measured operators, on models and batches that it was not fitted on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hermes.catalog import find_device, find_model
from hermes.costs.roofline import Roofline

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.parametrize(
    ("folder", "name", "dtype"),
    [
        ("h100_sxm", "h100-sxm", "bf16"),
        ("a100_sxm", "a100-sxm-80", "bf16"),
        ("h100_sxm", "h100-sxm", "fp8"),
        ("l40s", "l40s", "bf16"),
    ],
)
def test_dense_steps_are_within_seven_percent(folder, name, dtype, shared_data, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import accuracy

    device = find_device(name)
    errors = accuracy.dense_errors(
        shared_data / "hardware" / "aiconfigurator" / folder,
        device,
        dtype,
        lambda model, size: Roofline(find_model(model), device, dtype, "auto", size),
        models=("Llama-3.1-8B", "Qwen3-32B"),
    )
    for kind in ("decode", "prefill"):
        assert len(errors[kind]) > 100
        assert np.median(np.abs(errors[kind])) < 0.07
