"""Pipelines of a deployment, made ready to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hermes.errors import SimulationError
from hermes.scenario.pipeline import Embed, Encode, Process, Rerank, Retrieve, Tool
from hermes.sim.llm_client import ClientPlan
from hermes.sim.pipelines.calls import GenerateStep, Quality
from hermes.sim.pipelines.combinators import (
    Branch,
    ChoiceStep,
    LoopStep,
    ParallelStep,
    Step,
    run_all,
)
from hermes.sim.pipelines.context import Context
from hermes.sim.pipelines.plan import (
    CallPlan,
    ChoicePlan,
    LoopPlan,
    ParallelPlan,
    PipelinePlan,
    ServicePlan,
    StagePlan,
)
from hermes.sim.pipelines.services import (
    Embedding,
    Encoding,
    Processing,
    Reranking,
    Search,
    Service,
    ServiceStep,
    ToolCall,
)
from hermes.sim.pipelines.walk import Walk
from hermes.sim.pipelines.world import Steps, World
from hermes.sim.replica import Replica
from hermes.sim.route import Route
from hermes.sim.stations.plan import SearchPlan, StationPlan
from hermes.sim.stations.station import Station
from hermes.workload.streams import stream

__all__ = ["Builder", "PipelineWalker"]


class PipelineWalker:
    """Walks the requests of one pipeline; see `hermes.sim.coordinator.Walker`."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps

    def start(self, request: int, prompt: int) -> Walk:
        """Return the walk of a request that has just come."""
        return Walk(request, Context.of_request(request, prompt))

    def run(self, walk: Walk) -> Steps:
        """Pass all stages."""
        return run_all(self._steps, walk)


class Builder:
    """Makes the steps of pipelines.

    Args:
        world: What they work with.
        clients: LLM clients, for the quality of their answers.
        pools: Replicas by client.
        plans: The other clients.
        stations: Their stations.
        seed: The scenario's, for routing policies.
    """

    def __init__(
        self,
        world: World,
        clients: Sequence[ClientPlan],
        pools: Mapping[str, Sequence[Replica]],
        plans: Sequence[StationPlan],
        stations: Mapping[str, Sequence[Station]],
        seed: int,
    ) -> None:
        self._world = world
        self._policies = {p.name: p.policy(stream(seed, "stations", p.name)) for p in plans}
        self._plans = {plan.name: plan for plan in plans}
        self._stations = stations
        self._pools = {**pools, **stations}
        self._llms = pools
        self._quality = {client.name: client.quality for client in clients}

    def walker(
        self, plan: PipelinePlan, routes: Sequence[Route], first_stage: int
    ) -> PipelineWalker:
        """Return what walks a pipeline's requests.

        Args:
            plan: The pipeline.
            routes: Of its model calls, in order.
            first_stage: Number of its first stage in the log.
        """
        return PipelineWalker(_Steps(self, plan, routes, first_stage).all_of(plan.stages))

    def call(
        self, plan: CallPlan, name: str, stage: int, route: Route, shares: bool
    ) -> GenerateStep:
        """Return a model call."""
        quality = self._quality_of(plan)
        return GenerateStep(self._world, name, stage, plan.spec, route, quality, shares)

    def _quality_of(self, plan: CallPlan) -> Quality:
        """Return the quality by replica; those that share a call give the answer of one model."""
        names = plan.route.all_clients
        known = {name: self._quality[name] for name in names}
        if plan.route.decode is not None:
            stated = next((quality for quality in known.values() if quality is not None), None)
            known = {name: known[name] or stated for name in names}
        return {
            replica.index: quality
            for name, quality in known.items()
            if quality is not None
            for replica in self._llms[name]
        }

    def service(self, plan: ServicePlan, name: str, stage: int) -> ServiceStep:
        """Return a stage that stations serve."""
        stations = self._stations[plan.client] if plan.client else ()
        policy = self._policies[plan.client] if plan.client else None
        return ServiceStep(self._world, stage, self._asked(plan, name), stations, policy)

    def _asked(self, plan: ServicePlan, name: str) -> Service:
        world = self._world
        match plan.spec:
            case Embed() as embed:
                return Embedding(world, name, plan.model, embed)
            case Encode() as encode:
                return Encoding(world, name, plan.model, encode)
            case Retrieve() as retrieve:
                client = self._plans[plan.client]
                if not isinstance(client, SearchPlan):
                    raise SimulationError(f"{plan.where} is planned on {client.name}")
                return Search(world, name, client.cost.index.dimension, retrieve)
            case Rerank() as rerank:
                return Reranking(world, name, plan.model, rerank)
            case Process() as process:
                return Processing(world, name, process)
            case Tool() as tool:
                return ToolCall(world, name, tool)
            case _:
                raise SimulationError(f"{plan.where}: nothing is known of {plan.kind}")

    def choice(
        self, plan: ChoicePlan, name: str, branches: Sequence[Branch], router: Step | None
    ) -> ChoiceStep:
        """Return a decision."""
        asked = plan.spec.router
        confusion = (asked.confusion if asked else None) or {}
        return ChoiceStep(self._world, name, branches, router, confusion, self._pools)  # type: ignore[arg-type]

    @property
    def world(self) -> World:
        """What the steps work with."""
        return self._world


class _Steps:
    """Makes the steps of one pipeline."""

    def __init__(
        self, builder: Builder, plan: PipelinePlan, routes: Sequence[Route], first_stage: int
    ) -> None:
        self._builder = builder
        self._pipeline = plan.name
        self._first_stage = first_stage
        calls = [leaf for leaf in plan.leaves() if isinstance(leaf, CallPlan)]
        self._routes = {call.number: route for call, route in zip(calls, routes, strict=True)}
        self._shares = _calls_again(plan.stages)

    def all_of(self, stages: Sequence[StagePlan]) -> tuple[Step, ...]:
        """Return the steps of stages."""
        return tuple(self._step(stage) for stage in stages)

    def _step(self, plan: StagePlan) -> Step:
        builder, name = self._builder, f"{self._pipeline}/{plan.name}"
        match plan:
            case CallPlan():
                return self._call(plan)
            case ServicePlan():
                return builder.service(plan, name, self._first_stage + plan.number)
            case LoopPlan():
                steps = self.all_of(plan.stages)
                return LoopStep(builder.world, name, plan.spec.times, steps)
            case ParallelPlan():
                branches = [self.all_of(branch) for branch in plan.branches]
                return ParallelStep(builder.world, plan.spec, branches)
            case ChoicePlan():
                ways = [
                    Branch(self.all_of(stages), spec.when, spec.weight)
                    for stages, spec in zip(plan.branches, plan.spec.branches.values(), strict=True)
                ]
                router = None if plan.router is None else self._call(plan.router)
                return builder.choice(plan, name, ways, router)

    def _call(self, plan: CallPlan) -> GenerateStep:
        name, stage = f"{self._pipeline}/{plan.name}", self._first_stage + plan.number
        return self._builder.call(plan, name, stage, self._routes[plan.number], self._shares)


def _calls_again(stages: Sequence[StagePlan]) -> bool:
    """Whether a request may call a model more than once, and so find KV of its own."""
    return _calls(stages) > 1


def _calls(stages: Sequence[StagePlan]) -> int:
    """Count the calls of a request, those of a loop twice."""
    calls = 0
    for stage in stages:
        match stage:
            case CallPlan():
                calls += 1
            case LoopPlan():
                calls += 2 * _calls(stage.stages)
            case ParallelPlan():
                calls += sum(_calls(branch) for branch in stage.branches)
            case ChoicePlan():
                calls += stage.router is not None
                calls += max(_calls(branch) for branch in stage.branches)
            case ServicePlan():
                pass
    return calls
