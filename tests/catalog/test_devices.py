"""Devices are found by name or alias, carry their sources, and a user's own come first."""

from __future__ import annotations

import pytest

from hermes.catalog import device_names, find_device
from hermes.errors import UnknownNameError
from hermes.scenario.device import DeviceSpec

OWN = DeviceSpec(peak_tflops={"bf16": 500}, memory_gb=64, memory_bandwidth_gb_per_s=2000)


def test_a_device_is_what_its_datasheet_says():
    h100 = find_device("h100-sxm")
    assert h100.peak_tflops["bf16"] == 989  # dense, not the doubled figure for sparsity
    assert h100.memory_bandwidth_gb_per_s == 3350
    assert (h100.link_bandwidth_gb_per_s, h100.link_domain) == (450, 8)


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("h100", "h100-sxm"),
        ("H100-SXM", "h100-sxm"),
        ("a100", "a100-sxm-80"),
        ("h200", "h200-sxm"),
        ("b200", "b200-sxm"),
        ("mi300x", "mi300x"),
    ],
)
def test_a_device_answers_to_its_aliases_in_any_case(alias, name):
    assert find_device(alias).name == name


def test_no_two_devices_answer_to_one_name():
    names = [name.lower() for name in device_names()]
    assert len(set(names)) == len(names)
    assert all(find_device(name).name == name for name in device_names())


@pytest.mark.parametrize("name", device_names())
def test_every_device_is_complete_and_says_where_it_comes_from(name):
    device = find_device(name)
    assert device.source
    assert device.confidence in {"V", "R"}
    assert device.kind in {"gpu", "tpu", "asic", "cpu"}
    assert device.peak_tflops
    assert min(device.peak_tflops.values()) > 0
    assert 0 < device.memory_bytes <= device.memory_gb * 2**30
    assert device.link_domain == 1 or device.link_bandwidth_gb_per_s > 0
    assert (device.usd_per_hour is None) == (device.price_source == "")


def test_an_unknown_device_is_answered_with_the_nearest_one():
    with pytest.raises(
        UnknownNameError, match=r"unknown device 'h100-sxn'; did you mean 'h100-sxm'"
    ):
        find_device("h100-sxn")


def test_a_users_own_device_comes_before_the_catalogs():
    mine = find_device("h100-sxm", {"h100-sxm": OWN})
    assert mine.memory_gb == 64
    assert mine.usd_per_hour is None


def test_a_misspelt_own_device_is_suggested_too():
    with pytest.raises(UnknownNameError, match="did you mean 'my-chip'"):
        find_device("my-chop", {"my-chip": OWN})


def test_memory_of_a_card_is_what_its_driver_reports():
    """25,250,627,584 bytes is the total a vLLM run printed on a GeForce RTX 4090."""
    assert find_device("rtx-4090").memory_bytes == pytest.approx(25_250_627_584, rel=0.002)
