"""The tiers of a deployment, resolved: instances, their links, and each replica's way to them.

    replica's own    tier/replica > [replica's link] or replica/host-in
    node             tier/node    > [replica's link] or node/memory > replica/host-in
    rack, all        tier/rack    > [replica's link] or the network of the topology

Nothing here imports SimPy: deployments are checked before anything runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from hermes.catalog.media import find_medium
from hermes.errors import InfeasibleError, InputError, UnknownNameError
from hermes.scenario.tiers import KvFetch, KvLoad, KvWriteBack, TierSpec
from hermes.sim.link import Link
from hermes.sim.tiers.eviction import EVICTION, EvictionPolicy
from hermes.sim.topology import Topology

__all__ = ["InstancePlan", "KvUse", "TierPlans", "Way", "resolve_tiers"]

_TICKS_PER_MICROSECOND = 10**6
_GB = 10**9

Legs = tuple[tuple[str, ...], ...]
"""Paths that bytes take one after another."""


@dataclass(frozen=True, slots=True)
class KvUse:
    """How a client uses tiers.

    Attributes:
        tiers: Their names, nearest first.
        fetch: Whether to fetch what is there.
        load: Whether a request waits for all of it, or its first step for each layer.
        write_back: When blocks are written.
        block_size: Tokens of one KV block.
        token_bytes: KV of one token, all layers, whole model.
        layers: Of the model.
        content: What blocks must have in common to be of use to each other.
    """

    tiers: tuple[str, ...]
    fetch: KvFetch
    load: KvLoad
    write_back: KvWriteBack
    block_size: int
    token_bytes: int
    layers: int
    content: str

    @property
    def block_bytes(self) -> int:
        """KV of one block."""
        return self.block_size * self.token_bytes


@dataclass(frozen=True, slots=True)
class InstancePlan:
    """One instance of a tier."""

    tier: str
    place: str
    capacity: int | None
    eviction: type[EvictionPolicy]
    stream: float | None = None  # bytes a second that one transfer gets at most

    @property
    def name(self) -> str:
        """What its medium's link is called."""
        return f"{self.tier}@{self.place}"


@dataclass(frozen=True, slots=True)
class Way:
    """A replica's way to an instance."""

    instance: int
    reading: Legs
    writing: Legs


@dataclass(frozen=True, slots=True)
class TierPlans:
    """All instances, and each replica's ways to its own, nearest first.

    Attributes:
        instances: Those that some replica uses.
        links: Of the instances, for `FlowNetwork`.
        ways: By replica.
        uses: By replica; None for those without tiers.
    """

    instances: tuple[InstancePlan, ...] = ()
    links: tuple[Link, ...] = ()
    ways: tuple[tuple[Way, ...], ...] = ()
    uses: tuple[KvUse | None, ...] = ()


def resolve_tiers(
    specs: Mapping[str, TierSpec] | None,
    topology: Topology,
    uses: Mapping[str, KvUse],
) -> TierPlans:
    """Return the tiers of a deployment.

    Args:
        specs: The tiers by name.
        topology: Where the replicas stand.
        uses: By client, of those that use tiers.

    Raises:
        UnknownNameError: a tier, medium or eviction policy that is none.
        InfeasibleError: a tier out of a replica's reach, or too small for a block.
    """
    terms = {name: _terms(name, spec) for name, spec in (specs or {}).items()}
    builder = _Builder(topology, terms)
    ways: list[tuple[Way, ...]] = []
    for replica, site in enumerate(topology.sites):
        use = uses.get(site.client)
        ways.append(builder.ways(replica, use, site.client) if use else ())
    return TierPlans(
        tuple(builder.instances),
        tuple(builder.links.values()),
        tuple(ways),
        tuple(uses.get(site.client) for site in topology.sites),
    )


@dataclass(frozen=True, slots=True)
class _Terms:
    """A tier with everything about it known."""

    spec: TierSpec
    bandwidth: float  # bytes a second
    latency: int
    eviction: type[EvictionPolicy]


def _terms(name: str, spec: TierSpec) -> _Terms:
    field = f"topology.tiers.{name}"
    try:
        medium = None if spec.medium is None else find_medium(spec.medium)
    except InputError as error:
        raise error.inside(f"{field}.medium") from None
    bandwidth = spec.bandwidth_gb_per_s or (medium.bandwidth_gb_per_s if medium else None)
    if bandwidth is None:
        raise InputError(
            "a tier needs a bandwidth, or a medium that has one", f"{field}.bandwidth_gb_per_s"
        )
    latency = spec.latency_us
    if latency is None:
        latency = medium.latency_us if medium else 0.0
    eviction = EVICTION.find(spec.eviction, f"{field}.eviction")
    return _Terms(spec, bandwidth * _GB, round(latency * _TICKS_PER_MICROSECOND), eviction)


class _Builder:
    """Makes instances and links as replicas ask for them."""

    def __init__(self, topology: Topology, terms: Mapping[str, _Terms]) -> None:
        self._topology = topology
        self._terms = terms
        self.instances: list[InstancePlan] = []
        self.links: dict[str, Link] = {}
        self._numbers: dict[str, int] = {}

    def ways(self, replica: int, use: KvUse, client: str) -> tuple[Way, ...]:
        """Return a replica's ways to the tiers of its client."""
        return tuple(
            self._way(replica, use, name, f"clients.{client}.kv_tiers.{position}")
            for position, name in enumerate(use.tiers)
        )

    def _way(self, replica: int, use: KvUse, name: str, field: str) -> Way:
        if name not in self._terms:
            raise UnknownNameError.among("tier", name, self._terms, field)
        terms = self._terms[name]
        place = self._place(replica, terms.spec)
        instance = self._instance(name, place, terms, use)
        medium = self.instances[instance].name
        try:
            reading = self._between(replica, name, terms.spec, to_store=False)
            writing = self._between(replica, name, terms.spec, to_store=True)
        except InfeasibleError as error:
            raise InfeasibleError(
                f"tier {name!r} (shared_by: {terms.spec.shared_by}): {error.message}", field
            ) from None
        if terms.spec.transfer == "staged":
            return Way(instance, _legs((medium,), reading), _legs(writing, (medium,)))
        return Way(instance, ((medium, *reading),), ((*writing, medium),))

    def _place(self, replica: int, spec: TierSpec) -> str:
        topology = self._topology
        match spec.shared_by:
            case "replica":
                return topology.sites[replica].name
            case "node":
                return topology.node(replica)
            case "rack":
                return topology.rack(replica)
            case _:
                return "all"

    def _instance(self, tier: str, place: str, terms: _Terms, use: KvUse) -> int:
        capacity = terms.spec.capacity_gb
        size = None if capacity is None else int(capacity * _GB)
        if size is not None and size < use.block_bytes:
            raise InfeasibleError(
                f"holds {size:,} bytes, less than one KV block of {use.block_bytes:,}",
                f"topology.tiers.{tier}.capacity_gb",
            )
        stream = terms.spec.stream_gb_per_s
        most = None if stream is None else stream * _GB
        plan = InstancePlan(tier, place, size, terms.eviction, most)
        if plan.name not in self._numbers:
            self._numbers[plan.name] = len(self.instances)
            self.instances.append(plan)
            self._add(Link(plan.name, terms.bandwidth, terms.latency))
        return self._numbers[plan.name]

    def _between(self, replica: int, tier: str, spec: TierSpec, to_store: bool) -> tuple[str, ...]:
        """Return the links between an instance's medium and a replica."""
        if spec.link_gb_per_s is not None:
            return (self._own_link(replica, tier, spec, to_store),)
        topology = self._topology
        match spec.shared_by:
            case "replica":
                if topology.sites[replica].device.kind == "cpu":
                    return topology.host_path(replica, to_store)
                port = "host-out" if to_store else "host-in"
                return (f"{topology.sites[replica].name}/{port}",)
            case "node":
                return topology.host_path(replica, to_store)
            case "rack":
                return topology.store_path(replica, topology.rack(replica), to_store)
            case _:
                return topology.store_path(replica, None, to_store)

    def _own_link(self, replica: int, tier: str, spec: TierSpec, to_store: bool) -> str:
        direction = "out" if to_store else "in"
        name = f"{self._topology.sites[replica].name}/tier-{tier}-{direction}"
        bandwidth = inf if spec.link_gb_per_s is None else spec.link_gb_per_s * _GB
        self._add(Link(name, bandwidth, round(spec.link_latency_us * _TICKS_PER_MICROSECOND)))
        return name

    def _add(self, link: Link) -> None:
        self.links[link.name] = link


def _legs(*paths: Sequence[str]) -> Legs:
    return tuple(tuple(path) for path in paths if path)
