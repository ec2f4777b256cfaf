"""Percentiles are those of NumPy's default, which vLLM's benchmark uses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.metrics.quantiles import PERCENTILES, describe

VALUES = st.lists(st.floats(0, 1e9), min_size=1, max_size=60)


@given(VALUES)
def test_percentiles_equal_numpys(values: list[float]) -> None:
    result = describe(values)
    for percent in PERCENTILES:
        assert result[f"p{percent}"] == pytest.approx(np.percentile(values, percent), rel=1e-12)
    assert result["mean"] == pytest.approx(math.fsum(values) / len(values), rel=1e-15)


@given(VALUES, st.randoms())
def test_order_does_not_matter_to_the_last_bit(values: list[float], random) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)
    assert describe(shuffled) == describe(values)


def test_nothing_has_no_statistics() -> None:
    assert set(describe([]).values()) == {None}
