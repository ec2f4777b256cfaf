"""Intervals hold what they promise."""

from __future__ import annotations

import math
import random

import pytest

from hermes.evaluation.statistics import half_width, t_quantile


@pytest.mark.parametrize(
    ("freedom", "value"), [(1, 12.706), (9, 2.262), (29, 2.045), (30, 2.0423), (60, 2.0003),
                           (1000, 1.9623)],
)  # fmt: skip
def test_students_quantile_is_the_tables(freedom, value):
    assert t_quantile(freedom) == pytest.approx(value, abs=2e-4)


def test_the_half_width_is_the_textbooks():
    assert half_width([1.0, 2.0, 3.0, 4.0]) == pytest.approx(3.182 * math.sqrt(5 / 3 / 4))
    assert half_width([5.0, 5.0, 5.0]) == 0.0
    assert half_width([5.0]) is None


def test_intervals_of_a_mean_hold_it_19_times_of_20():
    rng = random.Random(5)
    hits = 0
    for _ in range(2000):
        values = [rng.gauss(10, 3) for _ in range(6)]
        hits += abs(sum(values) / 6 - 10) <= half_width(values)
    assert 0.935 < hits / 2000 < 0.965
