"""The roofline against measured operators, on models that its constants were not fitted on."""

from __future__ import annotations

from pathlib import Path

import pytest

from hermes.catalog import find_device, find_model
from hermes.costs.constants import find_constants

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.parametrize(
    ("folder", "name", "dtype"),
    [
        ("h100_sxm", "h100-sxm", "bf16"),
        ("a100_sxm", "a100-sxm-80", "bf16"),
        ("b200_sxm", "b200-sxm", "fp8"),
        ("l40s", "l40s", "bf16"),
    ],
)
def test_held_out_models_are_as_close_as_the_table_says(
    folder, name, dtype, shared_data, monkeypatch
):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import fit_roofline
    from operator_sums import Operators

    kept = find_constants(find_device(name), dtype)
    constants = (
        kept.compute_efficiency,
        kept.memory_efficiency,
        kept.layer_overhead_us,
        kept.allreduce_latency_us,
        kept.link_efficiency,
        kept.sharpness,
    )
    database = shared_data / "hardware" / "aiconfigurator" / folder
    operators = Operators(database, find_device(name), dtype)
    measured = [
        point
        for model in fit_roofline.HELD_OUT
        for point in fit_roofline.points(operators, find_model(model))
    ]
    assert len(measured) > 1000
    decode, _ = fit_roofline.errors(constants, measured, "decode")
    prefill, _ = fit_roofline.errors(constants, measured, "prefill")
    assert decode == pytest.approx(kept.decode_error, abs=0.002)
    assert prefill == pytest.approx(kept.prefill_error, abs=0.002)
    assert max(decode, prefill) < 0.09
