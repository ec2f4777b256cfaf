"""The resolved topology: the links of a deployment, and the paths between its replicas.

Every replica has its own ports: scale-up to the others of its node, NICs to other nodes, and to
its host; a replica of several devices moves over all of theirs at once. A node's host memory and
a rack's uplinks are shared by all that stand there.

    same node     a/scale-up-out > b/scale-up-in
                  or, without scale-up links, a/host-out > node/memory > b/host-in
    same rack     a/nic-out > [node/out] > [node/in] > b/nic-in
    other racks   a/nic-out > [node/out] > rack/up > core > rack/down > [node/in] > b/nic-in

Nothing here imports SimPy: deployments are checked before anything runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf

from hermes.catalog.devices import Device
from hermes.catalog.networks import Network, find_network, nic_gb_per_s
from hermes.errors import InfeasibleError, InputError
from hermes.scenario.topology import Reach, TopologySpec
from hermes.sim.link import Link
from hermes.sim.placement import Placement, ReplicaSite, pack, place

__all__ = ["ReplicaSite", "Topology", "resolve_topology"]

_TICKS_PER_MICROSECOND = 10**6
_NODES_PER_RACK = 8
_NIC_GB_PER_S = 50.0  # a 400 Gbit/s port
_HOST_GB_PER_S = 31.0  # a PCIe 4.0 x16 slot
# Latencies in us, of which sums are those of the paper's artifact: 10 in a node, 20 in a rack,
# 200 between racks.
_SCALE_UP_LATENCY, _NIC_LATENCY, _CORE_LATENCY, _HOST_LATENCY = 10.0, 10.0, 180.0, 10.0


@dataclass(frozen=True, slots=True)
class Topology:
    """Links, and paths over them between replicas, numbered in the order they were given.

    Attributes:
        links: All links, for `FlowNetwork`.
        sites: The replicas.
        placement: Where they stand.
        reach: How far the network goes.
        contention: Whether transfers share bandwidth.
    """

    links: tuple[Link, ...]
    sites: tuple[ReplicaSite, ...]
    placement: Placement
    reach: Reach
    _scale_up: tuple[bool, ...]  # by replica: whether it has such ports
    _node_ports: bool
    contention: bool = True

    def node(self, replica: int) -> str:
        """Return the name of a replica's node."""
        return self.placement.nodes[replica]

    def rack(self, replica: int) -> str:
        """Return the name of a replica's rack."""
        return self.placement.racks[self.node(replica)]

    def same_node(self, a: int, b: int) -> bool:
        """Whether two replicas stand on one node."""
        return self.node(a) == self.node(b)

    def same_rack(self, a: int, b: int) -> bool:
        """Whether two replicas stand in one rack."""
        return self.rack(a) == self.rack(b)

    def reaches(self, a: int, b: int) -> bool:
        """Whether there is a path between two replicas."""
        if self.reach == "all" or self.same_node(a, b):
            return True
        return self.reach == "rack" and self.same_rack(a, b)

    def path(self, source: int, target: int) -> tuple[str, ...]:
        """Return the links from one replica's memory to another's; none to itself.

        Raises:
            InfeasibleError: The network does not go that far.
        """
        if source == target:
            return ()
        if self.same_node(source, target):
            return self._inside(source, target)
        if not self.reaches(source, target):
            raise InfeasibleError(
                f"no path from {self._described(source)} to {self._described(target)}: the "
                f"network reaches no further than a {self.reach} (allowed: all, rack, node)",
                "topology.reach",
            )
        between = () if self.same_rack(source, target) else self._over_core(source, target)
        return self._leave(source) + between + self._enter(target)

    def host_path(self, replica: int, to_host: bool = False) -> tuple[str, ...]:
        """Return the links from a node's host memory to a replica on it, or the way back.

        A CPU replica works in host memory, so its path is the memory alone.
        """
        memory = (f"{self.node(replica)}/memory",)
        if self.sites[replica].device.kind == "cpu":
            return memory
        name = self.sites[replica].name
        return (f"{name}/host-out", *memory) if to_host else (*memory, f"{name}/host-in")

    def store_path(
        self, replica: int, rack: str | None = None, to_store: bool = False
    ) -> tuple[str, ...]:
        """Return the links between a store and a replica, the store's own left out.

        Args:
            replica: The replica.
            rack: The rack whose switch the store hangs on; None: it hangs on the core.
            to_store: Whether the bytes go to the store.

        Raises:
            InfeasibleError: The network does not go that far.
        """
        own = self.rack(replica)
        if self.reach == "node" or (self.reach == "rack" and rack != own):
            raise InfeasibleError(
                f"no path from a store in {rack or 'the core'} to {self._described(replica)}: "
                f"the network reaches no further than a {self.reach} (allowed: all, rack, node)",
                "topology.reach",
            )
        if to_store:
            down = (f"{rack}/down",) if rack else ()
            return self._leave(replica) + (() if rack == own else (f"{own}/up", "core", *down))
        up = (f"{rack}/up",) if rack else ()
        return (() if rack == own else (*up, "core", f"{own}/down")) + self._enter(replica)

    def _described(self, replica: int) -> str:
        return f"{self.sites[replica].name} ({self.node(replica)}, {self.rack(replica)})"

    def _inside(self, source: int, target: int) -> tuple[str, ...]:
        one, other = self.sites[source], self.sites[target]
        alike = one.device.name == other.device.name
        if alike and self._scale_up[source] and self._scale_up[target]:
            return (f"{one.name}/scale-up-out", f"{other.name}/scale-up-in")
        arriving = self.host_path(target)
        return self.host_path(source, to_host=True) + arriving[1:]

    def _over_core(self, source: int, target: int) -> tuple[str, ...]:
        return (f"{self.rack(source)}/up", "core", f"{self.rack(target)}/down")

    def _leave(self, replica: int) -> tuple[str, ...]:
        port = f"{self.sites[replica].name}/nic-out"
        return (port, f"{self.node(replica)}/out") if self._node_ports else (port,)

    def _enter(self, replica: int) -> tuple[str, ...]:
        port = f"{self.sites[replica].name}/nic-in"
        return (f"{self.node(replica)}/in", port) if self._node_ports else (port,)


def resolve_topology(spec: TopologySpec | None, sites: Sequence[ReplicaSite]) -> Topology:
    """Return the topology of a deployment.

    Args:
        spec: What the scenario says of it; None: nothing.
        sites: All replicas, those of a client together and in order.

    Raises:
        UnknownNameError: a preset or client that is none.
        InputError: a replica that does not exist or stands nowhere.
        InfeasibleError: a node with more devices than it has.
    """
    try:
        terms = _Terms.of(spec or TopologySpec())
        placement = _placement(terms, sites)
    except InputError as error:
        raise error.inside("topology") from None
    return Topology(
        links=tuple(_links(terms, sites, placement)),
        sites=tuple(sites),
        placement=placement,
        reach=terms.spec.reach,
        _scale_up=tuple(terms.scale_up(site.device) > 0 for site in sites),
        _node_ports=terms.node_gb_per_s is not None,
        contention=terms.spec.contention,
    )


def _placement(terms: _Terms, sites: Sequence[ReplicaSite]) -> Placement:
    size = terms.devices_per_node
    racks = terms.nodes_per_rack
    if terms.spec.nodes is None:
        return pack(sites, size, racks)
    return place(sites, terms.spec.nodes, size, racks)


@dataclass(frozen=True, slots=True)
class _Terms:
    """What the scenario says, then its preset, then what is usual."""

    spec: TopologySpec
    preset: Network | None

    @classmethod
    def of(cls, spec: TopologySpec) -> _Terms:
        try:
            return cls(spec, None if spec.preset is None else find_network(spec.preset))
        except InputError as error:
            raise error.inside("preset") from None

    @property
    def devices_per_node(self) -> int | None:
        stated = self.spec.devices_per_node
        return stated or (self.preset.devices_per_node if self.preset else None)

    @property
    def nodes_per_rack(self) -> int:
        stated = self.spec.nodes_per_rack
        return stated or (self.preset.nodes_per_rack if self.preset else _NODES_PER_RACK)

    @property
    def node_gb_per_s(self) -> float | None:
        return self.spec.node_gb_per_s or (self.preset.node_gb_per_s if self.preset else None)

    @property
    def rack_gb_per_s(self) -> float | None:
        return self.spec.rack_gb_per_s or (self.preset.rack_gb_per_s if self.preset else None)

    def scale_up(self, device: Device) -> float:
        """Return the GB/s of a device's ports to others of its node; 0 where it has none."""
        if device.kind == "cpu":  # reaches others through the memory it works in
            return 0.0
        stated = self.spec.scale_up_gb_per_s
        if stated is None and self.preset is not None:
            stated = self.preset.scale_up_gb_per_s
        return device.link_bandwidth_gb_per_s if stated is None else stated

    def nic(self, device: Device) -> float:
        stated = self.spec.nic_gb_per_s
        if stated is None and self.preset is not None:
            stated = self.preset.nic_gb_per_s
        return stated or nic_gb_per_s(device.name) or _NIC_GB_PER_S

    def host(self, device: Device) -> float:
        return self.spec.host_gb_per_s or device.host_bandwidth_gb_per_s or _HOST_GB_PER_S

    def latency(self, name: str, usual: float) -> int:
        """Return the latency of a field in ticks."""
        stated = getattr(self.spec, name)
        if stated is None:
            stated = getattr(self.preset, name, None)
        return round((usual if stated is None else stated) * _TICKS_PER_MICROSECOND)


def _links(terms: _Terms, sites: Sequence[ReplicaSite], placement: Placement) -> Iterator[Link]:
    for site in sites:
        yield from _ports(terms, site)
    memory: dict[str, float] = {}
    for site, node in zip(sites, placement.nodes, strict=True):
        if site.device.kind == "cpu":
            bandwidth = site.device.memory_bandwidth_gb_per_s * site.devices
            memory[node] = memory.get(node, 0.0) + bandwidth
    for node in dict.fromkeys(placement.nodes):
        limit = terms.spec.host_memory_gb_per_s or memory.get(node)
        yield Link(f"{node}/memory", _bytes(limit))
        if terms.node_gb_per_s is not None:
            yield from _both(f"{node}/", "out", "in", terms.node_gb_per_s, 0, 0)
    for rack in dict.fromkeys(placement.racks.values()):
        yield from _both(f"{rack}/", "up", "down", terms.rack_gb_per_s, 0, 0)
    core = terms.latency("core_latency_us", _CORE_LATENCY)
    yield Link("core", _bytes(terms.spec.core_gb_per_s), core)


def _ports(terms: _Terms, site: ReplicaSite) -> Iterator[Link]:
    device, count, name = site.device, site.devices, site.name
    if terms.scale_up(device):
        latency = terms.latency("scale_up_latency_us", _SCALE_UP_LATENCY)
        bandwidth = terms.scale_up(device) * count
        yield from _both(f"{name}/", "scale-up-out", "scale-up-in", bandwidth, latency, 0)
    latency = terms.latency("nic_latency_us", _NIC_LATENCY)
    yield from _both(f"{name}/", "nic-out", "nic-in", terms.nic(device) * count, latency, latency)
    if device.kind != "cpu":
        latency = terms.latency("host_latency_us", _HOST_LATENCY)
        bandwidth = terms.host(device) * count
        yield from _both(f"{name}/", "host-out", "host-in", bandwidth, latency, latency)


def _both(
    owner: str, out: str, back: str, gb_per_s: float | None, latency: int, back_latency: int
) -> Iterator[Link]:
    yield Link(owner + out, _bytes(gb_per_s), latency)
    yield Link(owner + back, _bytes(gb_per_s), back_latency)


def _bytes(gb_per_s: float | None) -> float:
    return inf if gb_per_s is None else gb_per_s * 10**9
