"""A duration is rounded once, and comes back as it was."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hermes.scenario.units import (
    TICKS_PER_SECOND,
    ns_to_ticks,
    seconds_to_ticks,
    ticks_to_ms,
    ticks_to_ns,
    ticks_to_seconds,
)

TICKS = st.integers(0, 1000 * TICKS_PER_SECOND)


def test_a_tick_is_a_picosecond():
    assert seconds_to_ticks(1.5e-12) == 2
    assert seconds_to_ticks(0.1) == 100_000_000_000
    assert ticks_to_ms(TICKS_PER_SECOND) == 1000


@given(TICKS)
def test_ticks_survive_seconds(ticks):
    assert seconds_to_ticks(ticks_to_seconds(ticks)) == ticks


@given(TICKS)
def test_nanoseconds_survive_ticks_and_ticks_round_to_the_nearest(ticks):
    assert ticks_to_ns(ns_to_ticks(ticks)) == ticks
    assert abs(ns_to_ticks(ticks_to_ns(ticks)) - ticks) <= 500
