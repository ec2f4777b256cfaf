"""Collectives and hops take their time from the device's own links."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.catalog import find_device
from hermes.costs.chip import Chip
from hermes.costs.constants import find_laws
from hermes.costs.links import link_seconds_per_byte, stage_hop
from hermes.errors import InfeasibleError

H100, L40S = find_device("h100"), find_device("l40s")


def test_a_hop_is_latency_and_bytes_over_the_link_or_the_host():
    assert stage_hop(H100, 2, 4) == (10e-6, 1 / 450e9)
    assert stage_hop(H100, 2, 8) == (10e-6, 1 / 63e9)  # sixteen are no scale-up domain
    assert stage_hop(L40S, 2, 1) == (10e-6, 1 / 31e9)
    assert stage_hop(H100, 1, 8) == (0.0, 0.0)


def test_devices_without_a_way_between_them_are_refused():
    alone = dataclasses.replace(L40S, host_bandwidth_gb_per_s=0.0)
    with pytest.raises(InfeasibleError, match="neither links nor a known host"):
        stage_hop(alone, 2, 1)
    with pytest.raises(InfeasibleError, match="allowed: 1"):
        Chip(alone).allreduce(1e6, 2)


@given(st.sampled_from([2, 4, 8]), st.floats(1e3, 1e9))
def test_a_ring_moves_least_and_one_shot_waits_least(size, message):
    at_once, turns, _, hops = Chip(H100).allreduce(message, size)
    byte = link_seconds_per_byte(H100, size, "tensor_parallel_size")
    assert at_once == pytest.approx((size - 1) * message * byte)
    assert turns == pytest.approx(2 * (size - 1) / size * message * byte)
    assert turns <= at_once * (1 + 1e-12)
    assert hops == pytest.approx(2 * (size - 1) * 1e-6)


@given(st.sampled_from(["2", "4", "8"]), st.floats(1e3, 1e9), st.floats(1.0, 100.0))
def test_the_faster_way_is_taken(size, message, factor):
    """Never slower than either way alone, within the smoothness; and never less for more."""
    law, chip = find_laws(H100).find("allreduce", size), Chip(H100)
    work = chip.allreduce(message, int(size))
    overhead = law.overhead_us * 1e-6
    at_once = work.compute / law.compute_efficiency
    turns = work.memory / law.memory_efficiency + law.extra * work.extra
    took = law.seconds(work) - overhead
    assert 0 < took <= min(at_once, turns) * (1 + 1e-9)
    assert took >= min(at_once, turns) * math.pow(2, 1 / law.sharpness) * (1 - 1e-9)
    assert law.seconds(chip.allreduce(factor * message, int(size))) >= law.seconds(work)
