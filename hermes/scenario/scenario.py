"""The scenario: one complete deployment and workload to simulate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from hermes.errors import did_you_mean
from hermes.scenario.base import NonNegative, Positive, PositiveInt, Spec
from hermes.scenario.clients import ClientSpec, LlmClientSpec
from hermes.scenario.device import DeviceSpec
from hermes.scenario.pipeline import (
    Choice,
    Generate,
    GenerateStage,
    Node,
    PipelineSpec,
    StageSpec,
    When,
    nodes,
)
from hermes.scenario.routing import RoutingSpec
from hermes.scenario.topology import TopologySpec
from hermes.scenario.workload import WorkloadSpec

__all__ = ["Name", "RequestClassSpec", "Scenario", "SloSpec"]

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


class RequestClassSpec(Spec):
    """A class of requests, or the requests of one tenant."""

    weight: NonNegative = 1.0
    """Share of the requests that are of this class, relative to the other weights."""
    tenant: int | None = None
    """Instead: those whose trace column `attribute.tenant` has this value; for all classes, or
    none."""
    share: Positive = 1.0
    """Share of the service it gets under `scheduling_policy: fair`, relative to the others."""
    priority: int | None = None
    """For `scheduling_policy: priority`; smaller is more urgent. Default: the trace's, or 0."""
    max_rate_per_s: Positive | None = None
    """Requests a second that are let in, by a token bucket; more are rejected. Default: all."""
    max_burst: PositiveInt = 1
    """Requests that are let in at once, with `max_rate_per_s`: the size of the bucket."""
    slo: SloSpec | None = None
    """What counts as good service for it; default: the scenario's `slo`."""


class Scenario(Spec):
    """A deployment, the traffic it meets, and what counts as good service."""

    name: Name = "scenario"
    """Name for reports."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of every random stream; the same scenario and seed give the same rows, bit by bit."""
    workload: WorkloadSpec
    """The traffic."""
    pipelines: Annotated[
        dict[Name, Annotated[PipelineSpec, Field(min_length=1)]], Field(min_length=1)
    ] = {"default": (GenerateStage(generate=Generate()),)}
    """Pipelines by name, each a list of stages; default: one `generate` stage."""
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
    grid_g_co2_per_kwh: NonNegative | None = None
    """Carbon intensity of the power that devices draw, in grams of CO2 equivalents for a kWh;
    default: no carbon is counted."""
    classes: dict[Name, RequestClassSpec] = {}
    """Classes of requests, or tenants, by name; default: all requests are alike."""

    @property
    def llm_clients(self) -> dict[str, LlmClientSpec]:
        """Clients that serve language models."""
        found = self.clients.items()
        return {name: client for name, client in found if isinstance(client, LlmClientSpec)}

    @model_validator(mode="after")
    def _bursts_have_rates(self) -> Self:
        for name, spec in self.classes.items():
            if spec.max_burst > 1 and spec.max_rate_per_s is None:
                raise PydanticCustomError(
                    "no_rate",
                    "classes.{name}.max_burst: is the size of a bucket that `max_rate_per_s` fills",
                    {"name": name},
                )
        return self

    @model_validator(mode="after")
    def _adapters_are_served(self) -> Self:
        clients = self.llm_clients.values()
        if self.workload.adapters is not None and not any(c.enable_lora for c in clients):
            raise PydanticCustomError(
                "no_adapters",
                "workload.adapters: no client serves adapters; give one `enable_lora: true`",
            )
        return self

    @model_validator(mode="after")
    def _classes_are_whole(self) -> Self:
        classes = self.classes.values()
        tenants = [spec.tenant for spec in classes if spec.tenant is not None]
        if tenants and len(tenants) < len(self.classes):
            raise PydanticCustomError(
                "half_the_tenants", "classes: give `tenant` for all classes, or for none"
            )
        if len(dict.fromkeys(tenants)) < len(tenants):
            raise PydanticCustomError("same_tenant", "classes: two classes have the same `tenant`")
        if self.classes and not tenants and not any(spec.weight for spec in classes):
            raise PydanticCustomError("no_weight", "classes: at least one weight must be above 0")
        return self

    @model_validator(mode="after")
    def _references_resolve(self) -> Self:
        for name in self.routing:
            self._require("routing", name, self.clients, "client")
        for name, client in self.clients.items():
            host = getattr(client, "on", None)
            if host is not None:
                self._require(f"clients.{name}.on", host, self.clients, "client")
        for pipeline in self.workload.mix or {}:
            self._require("workload.mix", pipeline, self.pipelines, "pipeline")
        for name, stages in self.pipelines.items():
            for node in nodes(f"pipelines.{name}", stages):
                self._check_node(node)
        return self

    def _check_node(self, node: Node) -> None:
        where, kind, body = node
        if isinstance(body, StageSpec):
            self._check_client(where, kind, body.client)
        elif isinstance(body, Choice):
            if body.router is not None:
                self._check_client(f"{where}.router", "generate", body.router.client)
            for name, branch in body.branches.items():
                if branch.when is not None:
                    self._check_when(f"{where}.branches.{name}.when", branch.when)
            for true, taken in ((body.router and body.router.confusion) or {}).items():
                at = f"{where}.router.confusion"
                for name in (true, *taken):
                    self._require(at, name, self.workload.difficulty or {}, "difficulty class")

    def _check_client(self, where: str, kind: str, client: str | None) -> None:
        if client is None:
            return
        self._require(f"{where}.client", client, self.clients, "client")
        serves = self.clients[client].serves
        if kind not in serves and not (kind == "generate" and serves[0] in {"prefill", "decode"}):
            raise PydanticCustomError(
                "unknown_reference",
                "{where}: client '{client}' serves {serves}, not {kind}",
                {
                    "where": f"{where}.client",
                    "client": client,
                    "serves": ", ".join(serves),
                    "kind": kind,
                },
            )

    def _check_when(self, where: str, when: When) -> None:
        if when.difficulty is not None:
            known = self.workload.difficulty or {}
            self._require(f"{where}.difficulty", when.difficulty, known, "difficulty class")
        for client in when.pending_below or {}:
            self._require(f"{where}.pending_below", client, self.clients, "client")

    @staticmethod
    def _require(where: str, given: str, known: Iterable[str], kind: str) -> None:
        if given not in known:
            raise PydanticCustomError(
                "unknown_reference",
                "{where}: unknown {kind} '{given}'{hint}",
                {"where": where, "kind": kind, "given": given, "hint": did_you_mean(given, known)},
            )
