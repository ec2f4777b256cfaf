"""Networks between devices: named presets, and what a device's own NIC carries.

Bandwidths are decimal, in one direction. A preset's figures are net of protocol overhead where its
source says so; a NIC's is the line rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from hermes.catalog.tables import aliases, optional_float, read_table
from hermes.errors import UnknownNameError

__all__ = ["Network", "find_network", "network_names", "nic_gb_per_s"]


@dataclass(frozen=True, slots=True)
class Network:
    """A cluster's network as a source describes it; None where it says nothing."""

    name: str
    devices_per_node: int
    nodes_per_rack: int
    scale_up_gb_per_s: float | None
    """Of one device, to others of its node."""
    scale_up_latency_us: float | None
    nic_gb_per_s: float | None
    """Of one device, to other nodes."""
    node_gb_per_s: float | None
    """Of all devices of a node together, to other nodes."""
    nic_latency_us: float | None
    """Between a device and the switch of its rack."""
    rack_gb_per_s: float | None
    """Of a rack, to other racks."""
    core_latency_us: float | None
    """Between the switches of two racks."""
    confidence: str
    source: str


def network_names() -> tuple[str, ...]:
    """Return the catalog's networks, in its order."""
    return tuple(row["name"] for row in read_table("networks.csv"))


def find_network(name: str) -> Network:
    """Return the network called *name*, in any case or by an alias.

    Raises:
        UnknownNameError: No network is called that.
    """
    for row in read_table("networks.csv"):
        if name.lower() in (row["name"], *aliases(row)):
            return _from_row(row)
    raise UnknownNameError.among("network", name, network_names())


def nic_gb_per_s(device: str) -> float | None:
    """Return the line rate of one device's NIC in the usual servers; None where not known."""
    return _nics().get(device)


@cache
def _nics() -> dict[str, float]:
    return {row["device"]: float(row["scale_out_gb_per_s"]) for row in read_table("scale_out.csv")}


def _from_row(row: dict[str, str]) -> Network:
    return Network(
        name=row["name"],
        devices_per_node=int(row["devices_per_node"]),
        nodes_per_rack=int(row["nodes_per_rack"]),
        scale_up_gb_per_s=optional_float(row["scale_up_gb_per_s"]),
        scale_up_latency_us=optional_float(row["scale_up_latency_us"]),
        nic_gb_per_s=optional_float(row["nic_gb_per_s"]),
        node_gb_per_s=optional_float(row["node_gb_per_s"]),
        nic_latency_us=optional_float(row["nic_latency_us"]),
        rack_gb_per_s=optional_float(row["rack_gb_per_s"]),
        core_latency_us=optional_float(row["core_latency_us"]),
        confidence=row["confidence"],
        source=row["source"],
    )
