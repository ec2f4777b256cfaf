"""The links between the devices of a replica: what collectives and pipeline stages send over.

Inside a scale-up domain devices have links of their own; a group beyond it goes through the host.
Experts that are dealt to the devices of a tensor-parallel group need no all-to-all: every device
holds every token, and what experts give is summed by the all-reduce that is there anyway.
"""

from __future__ import annotations

from typing import NamedTuple

from hermes.catalog import Device
from hermes.errors import InfeasibleError

__all__ = ["Hop", "in_domain", "link_seconds_per_byte", "stage_hop"]

_HOP_LATENCY_S = 10e-6
"""Of a send and receive between devices of a node."""


class Hop(NamedTuple):
    """A transfer from one device to another."""

    latency_s: float
    seconds_per_byte: float


def in_domain(device: Device, devices: int) -> bool:
    """Return whether so many devices all have links to one another."""
    return device.link_bandwidth_gb_per_s > 0 and devices <= device.link_domain


def link_seconds_per_byte(device: Device, devices: int, field: str) -> float:
    """Return what a byte takes from one of so many devices to the next.

    Args:
        device: One of them.
        devices: All that share the way.
        field: Of the scenario, that asks for so many.

    Raises:
        InfeasibleError: There is no way between them.
    """
    if in_domain(device, devices):
        return 1 / (device.link_bandwidth_gb_per_s * 1e9)
    if device.host_bandwidth_gb_per_s:
        return 1 / (device.host_bandwidth_gb_per_s * 1e9)
    raise InfeasibleError(
        f"{device.name} has neither links nor a known host bandwidth (allowed: 1)", field
    )


def stage_hop(device: Device, stages: int, devices_per_stage: int) -> Hop:
    """Return the hop between two pipeline stages; each device of a stage sends its share.

    Raises:
        InfeasibleError: There is no way between the stages.
    """
    if stages == 1:
        return Hop(0.0, 0.0)
    devices = stages * devices_per_stage
    byte = link_seconds_per_byte(device, devices, "pipeline_parallel_size")
    return Hop(_HOP_LATENCY_S, byte)
