"""Topology: which replicas stand together, and what connects them.

All of it has a default: replicas are packed in order onto nodes of one device type, as many
devices as their scale-up links join (8 where they join none), eight nodes a rack; the network
between the racks is non-blocking. Bandwidths count one direction; every port has both.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from hermes.scenario.base import NonNegative, Positive, PositiveInt, Spec
from hermes.scenario.tiers import TierSpec

__all__ = ["NodeSpec", "PlaceName", "Reach", "TopologySpec"]

PlaceName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", min_length=1, max_length=100)
]
Reach = Literal["all", "rack", "node"]
_Numbers = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1, strict=False)]


class NodeSpec(Spec):
    """One node, and what stands on it."""

    rack: PlaceName | None = None
    """The rack it stands in; default: `nodes_per_rack` nodes a rack, in the order written."""
    replicas: Annotated[dict[PlaceName, _Numbers], Field(min_length=1)]
    """Numbers of the replicas on it, from 0, by client."""


class TopologySpec(Spec):
    """Where replicas stand and how fast the links between them are."""

    preset: str | None = None
    """A network of the catalog, for what is not stated here: `paper-h100` or `paper-a100`."""
    nodes: Annotated[dict[PlaceName, NodeSpec], Field(min_length=1)] | None = None
    """Every replica's place, by node; default: packed in order onto nodes of one device type."""
    devices_per_node: PositiveInt | None = None
    """Devices of a node; default: what the device's scale-up links join, else 8, and 1 for CPUs."""
    nodes_per_rack: PositiveInt | None = None
    """Nodes of a rack; default: 8."""
    reach: Reach = "all"
    """How far the network goes: `all`, or no further than a `rack` or a `node`."""
    scale_up_gb_per_s: Positive | None = None
    """Of one device to others of its node; default: its scale-up links, and where it has none, the
    way over the host."""
    scale_up_latency_us: NonNegative | None = None
    """Between two devices of a node; default: 10."""
    nic_gb_per_s: Positive | None = None
    """Of one device to other nodes; default: that of its usual servers, and 50 where not known."""
    nic_latency_us: NonNegative | None = None
    """Between a device and its rack's switch, so twice that between nodes; default: 10."""
    node_gb_per_s: Positive | None = None
    """Of a node to other nodes, where that is less than its devices' NICs together."""
    rack_gb_per_s: Positive | None = None
    """Of a rack to other racks; default: enough for all (non-blocking)."""
    core_gb_per_s: Positive | None = None
    """Of the network between the racks, all traffic together; default: enough for all."""
    core_latency_us: NonNegative | None = None
    """Between two racks' switches; default: 180."""
    host_gb_per_s: Positive | None = None
    """Of one device to its host; default: what the catalog says, and 31 where not known."""
    host_latency_us: NonNegative | None = None
    """Between a device and its host's memory; default: 10."""
    host_memory_gb_per_s: Positive | None = None
    """Of a node's host memory, reads and writes together; default: that of the CPU replicas on the
    node, and without limit where it has none."""
    contention: bool = True
    """Whether transfers share bandwidth; false: each has its links to itself, as some models have
    it, to tell what contention does."""
    tiers: Annotated[dict[PlaceName, TierSpec], Field(min_length=1)] | None = None
    """KV memory tiers by name; clients list those they use under `kv_tiers`."""

    @model_validator(mode="after")
    def _replicas_stand_once(self) -> Self:
        where: dict[tuple[str, int], str] = {}
        for name, node in (self.nodes or {}).items():
            for client, numbers in node.replicas.items():
                for number in numbers:
                    before = where.setdefault((client, number), name)
                    if before != name or numbers.count(number) > 1:
                        raise ValueError(
                            f"replica {number} of client '{client}' is placed twice: "
                            f"on node '{before}' and on node '{name}'"
                        )
        return self
