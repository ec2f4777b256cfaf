"""Arrival processes: the laws each obeys, and its statistics at a fixed seed."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from hermes.errors import InputError
from hermes.scenario.arrivals import ArrivalSpec
from hermes.workload import arrival_ticks

SECOND = 10**12
SPECS = TypeAdapter(ArrivalSpec)


def arrivals(spec, seed=0, **limits):
    return arrival_ticks(SPECS.validate_python(spec), seed, **limits)


def in_seconds(ticks):
    return ticks / SECOND


POISSON = {"process": "poisson", "rate_per_s": 8}
GAMMA = {"process": "gamma", "rate_per_s": 8, "cv": 2}
CONSTANT = {"process": "constant", "rate_per_s": 8}
PIECEWISE = {
    "process": "piecewise",
    "pieces": [
        {"duration_s": 50, "rate_per_s": 0},
        {"duration_s": 100, "rate_per_s": 40},
        {"duration_s": 20, "rate_per_s": 0},
        {"duration_s": 200, "rate_per_s": 10},
    ],
}
DIURNAL = {"process": "diurnal", "mean_rate_per_s": 8, "peak_to_mean": 1.8, "period_s": 600}
RANDOM = [POISSON, GAMMA, PIECEWISE, DIURNAL]
ENDLESS = [POISSON, GAMMA, CONSTANT, DIURNAL]
ALL = [*RANDOM, CONSTANT]


def name(spec):
    return spec["process"]


@pytest.mark.parametrize("spec", ALL, ids=name)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 200), longer=st.integers(0, 5000))
@settings(max_examples=20)
def test_a_shorter_workload_is_the_start_of_a_longer_one(spec, seed, count, longer):
    more = arrivals(spec, seed, count=count + longer)
    assert np.array_equal(arrivals(spec, seed, count=count), more[:count])


@pytest.mark.parametrize("spec", ALL, ids=name)
@given(seed=st.integers(0, 2**32), end=st.integers(1, 400 * SECOND))
@settings(max_examples=20)
def test_a_time_limit_keeps_exactly_what_arrives_before_it(spec, seed, end):
    whole = arrivals(spec, seed, count=8000)
    assert np.array_equal(arrivals(spec, seed, count=8000, end_ticks=end), whole[whole < end])


@pytest.mark.parametrize("spec", ALL, ids=name)
def test_arrivals_are_in_order_whole_ticks_and_not_negative(spec):
    ticks = arrivals(spec, count=10_000)
    assert ticks.dtype == np.int64
    assert ticks[0] >= 0
    assert (np.diff(ticks) >= 0).all()


@pytest.mark.parametrize("spec", RANDOM, ids=name)
def test_another_seed_gives_other_arrivals(spec):
    assert not np.array_equal(arrivals(spec, 1, count=50), arrivals(spec, 2, count=50))


@pytest.mark.parametrize("spec", [POISSON, GAMMA], ids=name)
@given(rate=st.floats(0.01, 1000))
@settings(max_examples=20)
def test_a_rate_rescales_the_same_draws(spec, rate):
    """Common random numbers: twice the rate is the same traffic, twice as fast."""
    count = 500
    unit = in_seconds(arrivals(spec | {"rate_per_s": 1.0}, count=count))
    scaled = in_seconds(arrivals(spec | {"rate_per_s": rate}, count=count))
    # Each gap is rounded by half a tick at most, at either rate.
    assert np.allclose(scaled * rate, unit, rtol=1e-12, atol=count * 1e-12 * max(1, rate))


def test_gamma_gaps_with_a_cv_of_one_are_poisson():
    gamma = arrivals(GAMMA | {"cv": 1}, count=1000)
    assert np.array_equal(gamma, arrivals(POISSON, count=1000))


@pytest.mark.parametrize(
    ("spec", "cv"), [(POISSON, 1), (GAMMA, 2), (GAMMA | {"cv": 0.3}, 0.3), (CONSTANT, 0)]
)
def test_gaps_have_the_mean_and_the_variation_asked_for(spec, cv):
    gaps = np.diff(in_seconds(arrivals(spec, count=100_000)))
    assert gaps.mean() == pytest.approx(1 / 8, rel=0.02)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.02, abs=1e-9)


def test_constant_arrivals_start_at_zero_with_equal_whole_gaps():
    assert arrivals({"process": "constant", "rate_per_s": 3}, count=4).tolist() == [
        0,
        333_333_333_333,
        666_666_666_666,
        999_999_999_999,
    ]


def test_a_burst_arrives_at_time_zero():
    assert arrivals({"process": "burst"}, count=3).tolist() == [0, 0, 0]


class TestTrace:
    times = np.array([5, 7, 7, 2**62 + 1], dtype=np.int64)

    def test_keeps_its_times_to_the_tick(self):
        assert arrivals({"process": "trace"}, trace=self.times).tolist() == self.times.tolist()

    def test_scale_multiplies_the_rate(self):
        times = np.array([0, 100, 400], dtype=np.int64)
        assert arrivals({"process": "trace", "scale": 2}, trace=times).tolist() == [0, 50, 200]
        assert arrivals({"process": "trace", "scale": 0.5}, trace=times).tolist() == [0, 200, 800]

    def test_stops_at_the_limits(self):
        assert arrivals({"process": "trace"}, trace=self.times, count=2).tolist() == [5, 7]
        assert arrivals({"process": "trace"}, trace=self.times, end_ticks=7).tolist() == [5]

    def test_needs_a_trace(self):
        with pytest.raises(InputError, match="needs requests from a trace"):
            arrivals({"process": "trace"})

    def test_stretched_beyond_what_64_bits_hold_is_refused(self):
        with pytest.raises(InputError, match="106 days"):
            arrivals({"process": "trace", "scale": 0.1}, trace=self.times)


class TestPiecewise:
    def test_each_piece_has_its_own_rate(self):
        times = in_seconds(arrivals(PIECEWISE))
        counts = np.histogram(times, bins=[0, 50, 150, 170, 370])[0]
        assert counts[0] == counts[2] == 0
        # Within four standard deviations of Poisson counts.
        assert counts[1] == pytest.approx(4000, abs=4 * math.sqrt(4000))
        assert counts[3] == pytest.approx(2000, abs=4 * math.sqrt(2000))

    def test_ends_with_its_last_piece(self):
        times = in_seconds(arrivals(PIECEWISE, count=100_000))
        assert len(times) < 100_000
        assert 369 < times[-1] <= 370

    def test_one_piece_is_poisson(self):
        piece = {"process": "piecewise", "pieces": [{"duration_s": 90, "rate_per_s": 8}]}
        expected = arrivals(POISSON, end_ticks=90 * SECOND)
        assert np.allclose(arrivals(piece), expected, rtol=0, atol=len(expected))

    def test_a_split_piece_is_the_same_piece(self):
        halves = [{"duration_s": 45, "rate_per_s": 8}] * 2
        whole = [{"duration_s": 90, "rate_per_s": 8}]
        split = arrivals({"process": "piecewise", "pieces": halves})
        assert np.allclose(
            split, arrivals({"process": "piecewise", "pieces": whole}), rtol=0, atol=4
        )


class TestDiurnal:
    def test_the_rate_swings_as_a_sine(self):
        times = in_seconds(arrivals(DIURNAL, end_ticks=600 * 100 * SECOND))
        counts = np.histogram(times % 600, bins=12)[0] / 100
        edges = np.linspace(0, 2 * math.pi, 13)
        means = [
            8 * 50 * (1 + 0.8 * (math.cos(low) - math.cos(high)) / (high - low))
            for low, high in pairwise(edges)
        ]
        assert counts == pytest.approx(means, rel=0.05)

    def test_without_a_swing_it_is_poisson(self):
        flat = DIURNAL | {"peak_to_mean": 1}
        assert np.array_equal(arrivals(flat, count=1000), arrivals(POISSON, count=1000))


@pytest.mark.parametrize("spec", ENDLESS, ids=name)
def test_without_a_limit_endless_arrivals_are_refused(spec, monkeypatch):
    monkeypatch.setattr("hermes.workload.arrivals.MAX_REQUESTS", 10_000)
    with pytest.raises(InputError, match="more than 10,000 requests arrive"):
        arrivals(spec)


@pytest.mark.parametrize("spec", ENDLESS, ids=name)
def test_arrivals_beyond_106_days_are_refused(spec):
    rate = "mean_rate_per_s" if spec is DIURNAL else "rate_per_s"
    with pytest.raises(InputError, match="106 days"):
        arrivals(spec | {rate: 1e-6}, count=1000)


@pytest.mark.parametrize("spec", ENDLESS, ids=name)
def test_the_largest_rate_is_a_burst(spec):
    rate = "mean_rate_per_s" if spec is DIURNAL else "rate_per_s"
    assert arrivals(spec | {rate: 1e308}, count=10).tolist() == [0] * 10


@pytest.mark.parametrize("spec", ENDLESS, ids=name)
def test_the_smallest_rate_is_refused(spec):
    rate = "mean_rate_per_s" if spec is DIURNAL else "rate_per_s"
    with pytest.raises(InputError, match="106 days"):
        arrivals(spec | {rate: 5e-324}, count=10)


def test_a_burst_without_a_count_is_refused():
    with pytest.raises(InputError, match="a burst never ends"):
        arrivals({"process": "burst"})


def test_few_late_arrivals_within_106_days_are_fine():
    assert len(arrivals(POISSON | {"rate_per_s": 1e-6}, count=2)) == 2
