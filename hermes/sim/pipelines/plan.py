"""Pipelines of a deployment: every stage named, with the clients that serve it.

Nothing here simulates, and nothing imports SimPy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hermes.catalog import find_model
from hermes.errors import InputError, UnknownNameError
from hermes.scenario.pipeline import (
    Choice,
    Embed,
    Encode,
    Generate,
    Loop,
    Parallel,
    PipelineSpec,
    Rerank,
    StageSpec,
    body_of,
    kind_of,
)
from hermes.scenario.scenario import Scenario
from hermes.sim.llm_client import ClientPlan
from hermes.sim.looking import looked_up
from hermes.sim.route_plan import RoutePlan, plan_route
from hermes.sim.stations.plan import EncoderPlan, StationPlan
from hermes.sim.tiers.client import check_hit_rates

__all__ = [
    "CallPlan",
    "ChoicePlan",
    "LoopPlan",
    "ParallelPlan",
    "PipelinePlan",
    "ServicePlan",
    "StagePlan",
    "plan_pipeline",
]


@dataclass(frozen=True, slots=True)
class CallPlan:
    """A model call; `number` counts the pipeline's leaves."""

    where: str
    name: str
    number: int
    spec: Generate
    route: RoutePlan


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """A stage that a station serves, or something outside where `client` is empty."""

    where: str
    name: str
    number: int
    kind: str
    spec: StageSpec
    client: str
    model: int = 0
    """Position among the client's encoders."""


@dataclass(frozen=True, slots=True)
class ChoicePlan:
    """One of several branches."""

    where: str
    name: str
    spec: Choice
    branches: tuple[tuple[StagePlan, ...], ...]
    router: CallPlan | None


@dataclass(frozen=True, slots=True)
class ParallelPlan:
    """Branches at once."""

    name: str
    spec: Parallel
    branches: tuple[tuple[StagePlan, ...], ...]


@dataclass(frozen=True, slots=True)
class LoopPlan:
    """Stages again and again."""

    name: str
    spec: Loop
    stages: tuple[StagePlan, ...]


StagePlan = CallPlan | ServicePlan | ChoicePlan | ParallelPlan | LoopPlan


@dataclass(frozen=True, slots=True)
class PipelinePlan:
    """A pipeline: its stages, and the names of its leaves in order."""

    name: str
    stages: tuple[StagePlan, ...]
    stage_names: tuple[str, ...]

    def leaves(self) -> Iterator[CallPlan | ServicePlan]:
        """Yield the stages that hold no others, routers included."""
        yield from _leaves(self.stages)

    @property
    def calls(self) -> tuple[CallPlan, ...]:
        """Its model calls."""
        return tuple(leaf for leaf in self.leaves() if isinstance(leaf, CallPlan))

    @property
    def clients(self) -> tuple[str, ...]:
        """Clients that it can reach."""
        found: dict[str, None] = {}
        for leaf in self.leaves():
            names = leaf.route.all_clients if isinstance(leaf, CallPlan) else (leaf.client,)
            found.update(dict.fromkeys(name for name in names if name))
        return tuple(found)

    @property
    def only_call(self) -> CallPlan | None:
        """Return the model call that is all of it, if that is so and it adds nothing of its own."""
        if len(self.stages) != 1 or not isinstance(self.stages[0], CallPlan):
            return None
        call = self.stages[0]
        return call if call.spec.is_plain else None


def _leaves(stages: Sequence[StagePlan]) -> Iterator[CallPlan | ServicePlan]:
    for stage in stages:
        match stage:
            case CallPlan() | ServicePlan():
                yield stage
            case ChoicePlan():
                if stage.router is not None:
                    yield stage.router
                for branch in stage.branches:
                    yield from _leaves(branch)
            case ParallelPlan():
                for branch in stage.branches:
                    yield from _leaves(branch)
            case LoopPlan():
                yield from _leaves(stage.stages)


def plan_pipeline(
    name: str,
    spec: PipelineSpec,
    scenario: Scenario,
    clients: Sequence[ClientPlan],
    stations: Sequence[StationPlan],
    folder: Path | None = None,
) -> PipelinePlan:
    """Return a pipeline with every stage's clients known.

    Raises:
        InputError: a stage that nobody serves, or that cannot be where it is.
    """
    planner = _Planner(scenario, clients, stations, folder)
    stages = planner.stages(f"pipelines.{name}", spec)
    return PipelinePlan(name, stages, tuple(planner.names))


class _Planner:
    """Plans the stages of one pipeline, in the order they are written."""

    def __init__(
        self,
        scenario: Scenario,
        clients: Sequence[ClientPlan],
        stations: Sequence[StationPlan],
        folder: Path | None,
    ) -> None:
        self.names: list[str] = []
        self._scenario = scenario
        self._clients = clients
        self._stations = stations
        self._folder = folder
        self._taken: set[str] = set()

    def stages(self, where: str, spec: PipelineSpec) -> tuple[StagePlan, ...]:
        """Return the stages of a pipeline, or of a part of one."""
        planned = []
        for number, stage in enumerate(spec):
            kind = kind_of(stage)
            planned.append(self._stage(f"{where}.{number}.{kind}", kind, body_of(stage)))
        return tuple(planned)

    def _stage(
        self, where: str, kind: str, body: StageSpec | Choice | Parallel | Loop
    ) -> StagePlan:
        match body:
            case Choice():
                return self._choice(where, body)
            case Parallel():
                branches = body.each or {"": body.stages or ()}
                places = [
                    f"{where}.each.{name}" if name else f"{where}.stages" for name in branches
                ]
                planned = [
                    self.stages(place, stages)
                    for place, stages in zip(places, branches.values(), strict=True)
                ]
                return ParallelPlan(self._name(kind), body, tuple(planned) * (body.branches or 1))
            case Loop():
                return LoopPlan(self._name(kind), body, self.stages(f"{where}.stages", body.stages))
            case Generate():
                return self._call(where, body)
            case _:
                return self._service(where, kind, body)

    def _choice(self, where: str, body: Choice) -> ChoicePlan:
        name = self._name("choice")
        router = None
        if body.router is not None:
            call = Generate(
                name=f"{name}-router",
                client=body.router.client,
                model=body.router.model,
                output_tokens=body.router.output_tokens,
                keep_output=False,
            )
            router = self._call(f"{where}.router", call)
        branches = tuple(
            self.stages(f"{where}.branches.{branch_name}.stages", branch.stages)
            for branch_name, branch in body.branches.items()
        )
        return ChoicePlan(where, name, body, branches, router)

    def _call(self, where: str, spec: Generate) -> CallPlan:
        route = plan_route(
            where, spec.client, spec.model, self._clients, self._scenario, self._folder
        )
        call = CallPlan(
            where, self._leaf_name(spec.name or "generate"), len(self.names), spec, route
        )
        self.names.append(call.name)
        if spec.recall is not None:
            tiers = {c.name: len(c.kv.tiers) if c.kv else 0 for c in self._clients}
            check_hit_rates(spec.recall, [tiers[name] for name in route.clients], where)
        return call

    def _service(self, where: str, kind: str, spec: StageSpec) -> ServicePlan:
        client = self._client_for(where, kind, spec)
        model = 0
        if isinstance(client, EncoderPlan) and isinstance(spec, (Embed, Encode, Rerank)):
            model = self._model_of(where, client, spec.model)
        name = self._leaf_name(spec.name or kind)
        number = len(self.names)
        self.names.append(name)
        return ServicePlan(where, name, number, kind, spec, client.name if client else "", model)

    def _client_for(self, where: str, kind: str, spec: StageSpec) -> StationPlan | None:
        """Return the client that serves a stage; None for a tool without bounds."""
        serving = [station for station in self._stations if kind in station.serves]
        named = [station for station in serving if station.name == spec.client]
        if named:
            return named[0]
        if not serving and kind == "tool":
            return None
        if not serving:
            raise InputError(f"no client serves this stage (`serves: [{kind}]`)", where)
        if len(serving) > 1:
            names = ", ".join(station.name for station in serving)
            raise InputError(
                f"several clients serve {kind}: name one of {names}", f"{where}.client"
            )
        return serving[0]

    def _model_of(self, where: str, client: EncoderPlan, wanted: str | None) -> int:
        if wanted is None:
            if len(client.models) > 1:
                names = ", ".join(model.name for model in client.models)
                raise InputError(
                    f"client {client.name!r} holds several encoders: name one of {names}",
                    f"{where}.model",
                )
            return 0
        found = looked_up(f"{where}.model", lambda: find_model(wanted, self._folder))
        if found not in client.models:
            held = [model.name for model in client.models]
            raise UnknownNameError.among("encoder", wanted, held, f"{where}.model")
        return client.models.index(found)

    def _name(self, kind: str) -> str:
        """Return a combinator's name, for its draws."""
        return self._leaf_name(kind)

    def _leaf_name(self, name: str) -> str:
        """Return a name that no other stage has."""
        taken, times = name, 1
        while taken in self._taken:
            times += 1
            taken = f"{name}-{times}"
        self._taken.add(taken)
        return taken
