"""Placement: on which node, and in which rack, each replica stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hermes.catalog.devices import Device
from hermes.errors import InfeasibleError, InputError, UnknownNameError
from hermes.scenario.topology import NodeSpec

__all__ = ["Placement", "ReplicaSite", "node_size", "pack", "place"]

_PCIE_NODE = 8


@dataclass(frozen=True, slots=True)
class ReplicaSite:
    """A replica as hardware that has to stand somewhere."""

    client: str
    number: int
    device: Device
    devices: int

    @property
    def name(self) -> str:
        """What links call it."""
        return f"{self.client}/{self.number}"


@dataclass(frozen=True, slots=True)
class Placement:
    """Every replica's node, and every node's rack.

    Attributes:
        nodes: The name of its node, by replica. Of a replica that spans nodes, the first.
        racks: The name of its rack, by node.
    """

    nodes: tuple[str, ...]
    racks: Mapping[str, str]


def node_size(device: Device) -> int:
    """Return how many of a device make a node: a scale-up domain, or a PCIe server."""
    if device.link_domain > 1:
        return device.link_domain
    return 1 if device.kind == "cpu" else _PCIE_NODE


def pack(
    sites: Sequence[ReplicaSite], devices_per_node: int | None, nodes_per_rack: int
) -> Placement:
    """Place replicas in order, each on the last node of its device type if it has room.

    Clients of one device type fill nodes together. A replica larger than a node takes whole nodes.
    """
    nodes: list[str] = []
    begun = 0  # nodes so far
    room: dict[str, tuple[str, int]] = {}  # the last node and its free devices, by device type
    for site in sites:
        size = devices_per_node or node_size(site.device)
        node, free = room.get(site.device.name, ("", 0))
        if site.devices > free:
            node, spans = f"node-{begun}", -(-site.devices // size)
            begun += spans
            free = size * spans if spans == 1 else site.devices
        room[site.device.name] = (node, free - site.devices)
        nodes.append(node)
    racks = {f"node-{n}": f"rack-{n // nodes_per_rack}" for n in range(begun)}
    return Placement(tuple(nodes), racks)


def place(
    sites: Sequence[ReplicaSite],
    nodes: Mapping[str, NodeSpec],
    devices_per_node: int | None,
    nodes_per_rack: int,
) -> Placement:
    """Place replicas as written, having checked that each has one place and fits there.

    Raises:
        UnknownNameError: A node names a client that is none.
        InputError: A replica that does not exist, or that stands nowhere.
        InfeasibleError: A node holds more devices than it has.
    """
    where: dict[tuple[str, int], str] = {}
    for name, node in nodes.items():
        for client, numbers in node.replicas.items():
            _require_exist(f"{name}.replicas", client, numbers, sites)
            where.update(((client, number), name) for number in numbers)
    homeless = [site.name for site in sites if (site.client, site.number) not in where]
    if homeless:
        shown = ", ".join(homeless[:8]) + (", ..." if len(homeless) > 8 else "")
        raise InputError(f"every replica needs a node; none is given for {shown}", "nodes")
    placed = tuple(where[site.client, site.number] for site in sites)
    if devices_per_node is not None:
        _require_room(placed, sites, devices_per_node)
    racks = {
        name: node.rack or f"rack-{n // nodes_per_rack}"
        for n, (name, node) in enumerate(nodes.items())
    }
    return Placement(placed, racks)


def _require_exist(
    field: str, client: str, numbers: Sequence[int], sites: Sequence[ReplicaSite]
) -> None:
    clients = dict.fromkeys(site.client for site in sites)
    if client not in clients:
        raise UnknownNameError.among("client", client, clients, f"nodes.{field}")
    count = sum(site.client == client for site in sites)
    for number in numbers:
        if number >= count:
            raise InputError(
                f"client {client!r} has no replica {number}; it has {count}, counted from 0",
                f"nodes.{field}.{client}",
            )


def _require_room(placed: Sequence[str], sites: Sequence[ReplicaSite], size: int) -> None:
    held: dict[str, list[ReplicaSite]] = {}
    for node, site in zip(placed, sites, strict=True):
        held.setdefault(node, []).append(site)
    for node, there in held.items():
        devices = sum(site.devices for site in there)
        if devices > size and len(there) > 1:
            raise InfeasibleError(
                f"{devices} devices ({', '.join(site.name for site in there[:8])}) "
                f"on a node of {size} (devices_per_node)",
                f"nodes.{node}",
            )
