"""Weighted choices with one uniform draw each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.workload.choices import choose

WEIGHTS = st.lists(st.floats(0, 1e308), min_size=1, max_size=6).filter(any)


@given(WEIGHTS, st.floats(0, 1, exclude_max=True))
def test_an_option_of_weight_zero_is_never_chosen(weights, drawn):
    assert weights[choose(weights, np.array([drawn]))[0]] > 0


@given(WEIGHTS)
def test_a_larger_draw_never_chooses_an_earlier_option(weights):
    chosen = choose(weights, np.linspace(0, 1, 50, endpoint=False))
    assert (np.diff(chosen) >= 0).all()


@pytest.mark.parametrize("unit", [1, 1e-300, 1e300])
def test_only_the_proportions_of_weights_count(unit):
    chosen = choose([1 * unit, 0, 3 * unit], np.array([0, 0.2, 0.25, 0.9]))
    assert chosen.tolist() == [0, 0, 2, 2]
