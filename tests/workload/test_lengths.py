"""Length distributions: the laws each obeys, and its statistics at a fixed seed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from hermes.scenario.distributions import MAX_TOKENS, LengthSpec
from hermes.workload import draw_lengths, stream

SPECS = TypeAdapter(LengthSpec)


def draw(spec, count=200_000, seed=0):
    return draw_lengths(SPECS.validate_python(spec), count, stream(seed, "lengths"))


DISTRIBUTIONS = [
    512,
    {"constant": {"value": 512}},
    {"lognormal": {"mean": 517, "cv": 1.0}},
    {"uniform": {"low": 10, "high": 20}},
    {"normal": {"mean": 100, "std": 60}},
    {"exponential": {"mean": 80}},
    {"geometric": {"mean": 4}},
    {"empirical": {"values": [3, 5, 8]}},
    {"empirical": {"values": [3, 5, 8], "weights": [1, 0, 3]}},
]


@pytest.mark.parametrize("spec", DISTRIBUTIONS, ids=str)
@given(seed=st.integers(0, 2**32), count=st.integers(0, 50), longer=st.integers(0, 500))
@settings(max_examples=20)
def test_fewer_requests_have_the_lengths_of_the_first_of_many(spec, seed, count, longer):
    more = draw(spec, count + longer, seed)
    assert np.array_equal(draw(spec, count, seed), more[:count])


@pytest.mark.parametrize("spec", DISTRIBUTIONS, ids=str)
def test_lengths_are_whole_and_at_least_one(spec):
    drawn = draw(spec, 10_000)
    assert drawn.dtype == np.int64
    assert drawn.min() >= 1


@pytest.mark.parametrize(
    "spec", [spec for spec in DISTRIBUTIONS if isinstance(spec, dict)], ids=str
)
def test_min_and_max_clip_without_moving_other_draws(spec):
    ((name, body),) = spec.items()
    free, clipped = draw(spec, 5000), draw({name: body | {"min": 4, "max": 15}}, 5000)
    assert np.array_equal(clipped, free.clip(4, 15))


@pytest.mark.parametrize(
    ("spec", "mean", "std"),
    [
        (512, 512, 0),
        ({"constant": {"value": 7}}, 7, 0),
        ({"lognormal": {"mean": 517, "cv": 1.0}}, 517, 517),
        ({"lognormal": {"mean": 517, "cv": 0}}, 517, 0),
        ({"uniform": {"low": 10, "high": 20}}, 15, 10**0.5),
        ({"normal": {"mean": 500, "std": 50}}, 500, 50),
        ({"exponential": {"mean": 300}}, 300, 300),
        ({"geometric": {"mean": 4}}, 4, 12**0.5),
        ({"geometric": {"mean": 1}}, 1, 0),
        ({"geometric": {"mean": 1.25}}, 1.25, (0.2 / 0.64) ** 0.5),
        ({"empirical": {"values": [3, 5, 8]}}, 16 / 3, (98 / 3 - (16 / 3) ** 2) ** 0.5),
        ({"empirical": {"values": [4, 99, 8], "weights": [1, 0, 3]}}, 7, 3**0.5),
    ],
    ids=str,
)
def test_moments_are_those_asked_for(spec, mean, std):
    drawn = draw(spec)
    assert drawn.mean() == pytest.approx(mean, rel=0.01)
    assert drawn.std() == pytest.approx(std, rel=0.03)


def test_uniform_reaches_both_ends_equally_often():
    values, counts = np.unique(draw({"uniform": {"low": 1, "high": 4}}), return_counts=True)
    assert values.tolist() == [1, 2, 3, 4]
    assert counts == pytest.approx([50_000] * 4, rel=0.02)


def test_geometric_has_no_memory():
    drawn = draw({"geometric": {"mean": 5}})
    survivors = [(drawn > k).sum() for k in range(1, 8)]
    ratios = [after / before for before, after in pairwise(survivors)]
    assert ratios == pytest.approx([0.8] * 6, rel=0.02)


@pytest.mark.parametrize("name", ["lognormal", "exponential", "geometric", "normal"])
def test_a_larger_mean_lengthens_every_request(name):
    extra = {"lognormal": {"cv": 1.0}, "normal": {"std": 50}}.get(name, {})
    short = draw({name: {"mean": 100, **extra}}, 5000)
    long = draw({name: {"mean": 200, **extra}}, 5000)
    assert (long >= short).all()


def test_the_widest_distribution_stays_within_the_largest_length():
    drawn = draw({"lognormal": {"mean": MAX_TOKENS, "cv": 100}}, 10_000)
    assert 1 <= drawn.min() <= drawn.max() <= MAX_TOKENS
