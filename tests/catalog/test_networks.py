"""Networks by name, and the NICs that devices usually have."""

from __future__ import annotations

import pytest

from hermes.catalog.devices import device_names
from hermes.catalog.networks import find_network, network_names, nic_gb_per_s
from hermes.catalog.tables import read_table
from hermes.errors import UnknownNameError


@pytest.mark.parametrize("name", network_names())
def test_every_network_is_whole_and_has_a_source(name):
    network = find_network(name.upper())
    assert network.name == name
    assert network.devices_per_node > 0
    assert network.nodes_per_rack > 0
    assert network.source


def test_an_unknown_network_is_named_with_its_nearest_match():
    with pytest.raises(UnknownNameError, match="did you mean 'paper-h100'"):
        find_network("paper-h10")


def test_a_nic_is_known_by_device_or_not_at_all():
    assert nic_gb_per_s("h100-sxm") == 50
    assert nic_gb_per_s("a100-sxm-80") == 25
    assert nic_gb_per_s("l40s") is None


def test_every_nic_belongs_to_a_device_of_the_catalog():
    rows = read_table("scale_out.csv")
    assert {row["device"] for row in rows} <= set(device_names())
    assert all(float(row["scale_out_gb_per_s"]) > 0 and row["source"] for row in rows)
