"""The scenario: one complete deployment and workload to simulate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from hermes.errors import did_you_mean
from hermes.scenario.base import Positive, Spec
from hermes.scenario.client import ClientSpec
from hermes.scenario.device import DeviceSpec
from hermes.scenario.pipeline import Generate, GenerateStage, PipelineSpec
from hermes.scenario.routing import RoutingSpec
from hermes.scenario.topology import TopologySpec
from hermes.scenario.workload import WorkloadSpec

__all__ = ["Name", "Scenario", "SloSpec"]

Name = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", min_length=1, max_length=100)
]


class SloSpec(Spec):
    """Latency a request must meet to count as good."""

    ttft_ms: Positive | None = None
    """Time to first token, milliseconds."""
    tpot_ms: Positive | None = None
    """Mean time per output token after the first, milliseconds."""
    e2el_ms: Positive | None = None
    """End-to-end latency, milliseconds."""
    attainment: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Share of requests that must be good for the deployment to count as meeting its target."""


class Scenario(Spec):
    """A deployment, the traffic it meets, and what counts as good service."""

    name: Name = "scenario"
    """Name for reports."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of every random stream; the same scenario and seed give the same rows, bit by bit."""
    workload: WorkloadSpec
    """The traffic."""
    pipelines: Annotated[dict[Name, PipelineSpec], Field(min_length=1)] = {
        "default": (GenerateStage(generate=Generate()),)
    }
    """Pipelines by name; default: one `generate` stage."""
    clients: Annotated[dict[Name, ClientSpec], Field(min_length=1)]
    """Pools of replicas by name."""
    devices: dict[Name, DeviceSpec] = {}
    """The user's own devices by name."""
    routing: dict[Name, RoutingSpec] = {}
    """Routing policy by client: a name, `least_loaded` by default, or a policy with its options;
    docs/routing.md lists them."""
    topology: TopologySpec | None = None
    """Nodes, racks and links; default: replicas packed onto nodes of eight devices."""
    slo: SloSpec = SloSpec()
    """Service level objectives."""

    @model_validator(mode="after")
    def _references_resolve(self) -> Self:
        for client in self.routing:
            self._require("routing", client, self.clients, "client")
        for pipeline in self.workload.mix or {}:
            self._require("workload.mix", pipeline, self.pipelines, "pipeline")
        for name, stages in self.pipelines.items():
            for position, stage in enumerate(stages):
                if stage.generate.client is not None:
                    where = f"pipelines.{name}.{position}.generate.client"
                    self._require(where, stage.generate.client, self.clients, "client")
        return self

    @staticmethod
    def _require(where: str, given: str, known: Iterable[str], kind: str) -> None:
        if given not in known:
            raise PydanticCustomError(
                "unknown_reference",
                "{where}: unknown {kind} '{given}'{hint}",
                {"where": where, "kind": kind, "given": given, "hint": did_you_mean(given, known)},
            )
