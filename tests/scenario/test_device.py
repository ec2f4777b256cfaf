"""A user's own device needs three facts, and refuses what makes no sense."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from hermes.scenario.device import DeviceSpec

NEEDED = {"peak_tflops": {"bf16": 500}, "memory_gb": 64, "memory_bandwidth_gb_per_s": 2000}


def test_three_fields_make_a_device():
    spec = DeviceSpec.model_validate(NEEDED)
    assert spec.link_bandwidth_gb_per_s == 0
    assert spec.usd_per_hour is None


@pytest.mark.parametrize("missing", NEEDED)
def test_each_of_the_three_is_needed(missing):
    with pytest.raises(ValidationError, match=missing):
        DeviceSpec.model_validate({key: value for key, value in NEEDED.items() if key != missing})


@pytest.mark.parametrize(
    "change",
    [
        {"memory_gb": 0},
        {"memory_gb": "80"},
        {"memory_bandwidth_gb_per_s": float("nan")},
        {"peak_tflops": {}},
        {"peak_tflops": {"bf61": 500}},
        {"peak_tflops": {"bf16": -1}},
        {"link_domain": 0},
        {"usable_memory_fraction": 1.5},
        {"usd_per_hour": -1},
        {"memmory_gb": 80},
    ],
)
def test_senseless_values_and_unknown_keys_are_errors(change):
    with pytest.raises(ValidationError):
        DeviceSpec.model_validate({**NEEDED, **change})
