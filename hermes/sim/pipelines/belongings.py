"""What a request has with it at each stage of its pipeline: documents found, an answer.

A stage that needs what no request can have there was written by mistake.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hermes.errors import InputError
from hermes.sim.llm_client import ClientPlan
from hermes.sim.pipelines.plan import (
    CallPlan,
    ChoicePlan,
    LoopPlan,
    ParallelPlan,
    PipelinePlan,
    ServicePlan,
    StagePlan,
)

__all__ = ["require_belongings"]


def require_belongings(pipeline: PipelinePlan, clients: Sequence[ClientPlan]) -> None:
    """Check that documents are there to be reranked, and answers of known quality to be doubted.

    Raises:
        InputError: naming the stage, or the branch.
    """
    rated = {client.name: client.quality is not None for client in clients}
    _Follower(rated).through(pipeline.stages, _Belongings())


@dataclass(frozen=True, slots=True)
class _Belongings:
    """What a request may have; `clients` are those that may have given its latest answer."""

    documents: bool = False
    clients: tuple[str, ...] = ()

    def __or__(self, other: _Belongings) -> _Belongings:
        clients = dict.fromkeys((*self.clients, *other.clients))
        return _Belongings(self.documents or other.documents, tuple(clients))


class _Follower:
    """Follows the stages of a pipeline; `rated` says whose answers have a known quality."""

    def __init__(self, rated: Mapping[str, bool]) -> None:
        self._rated = rated

    def through(self, stages: Sequence[StagePlan], has: _Belongings) -> _Belongings:
        """Return what a request may have after stages, given what it may have before."""
        for stage in stages:
            has = self._pass(stage, has)
        return has

    def _pass(self, stage: StagePlan, has: _Belongings) -> _Belongings:
        match stage:
            case CallPlan():
                kept = has.documents and stage.spec.prompt_tokens is not None
                return _Belongings(kept, self._answering(stage))
            case ServicePlan(kind="retrieve"):
                return replace(has, documents=True)
            case ServicePlan(kind="rerank") if not has.documents:
                raise InputError(
                    "there is nothing to rerank: no `retrieve` comes before, or a model call has "
                    "read the documents since",
                    stage.where,
                )
            case ServicePlan():
                return has
            case LoopPlan():
                once = has | self.through(stage.stages, has)
                return once | self.through(stage.stages, once)
            case ParallelPlan():
                return self._parallel(stage, replace(has, documents=False))
            case ChoicePlan():
                return self._choice(stage, has)

    def _answering(self, stage: CallPlan) -> tuple[str, ...]:
        """Return who gives an answer; of two who share a call, one whose quality is known."""
        if stage.route.decode is None:
            return stage.route.clients
        rated = [name for name in stage.route.all_clients if self._rated[name]]
        return tuple(rated[:1]) or stage.route.clients

    def _parallel(self, stage: ParallelPlan, has: _Belongings) -> _Belongings:
        first, *others = [self.through(branch, has) for branch in stage.branches]
        for other in others:
            first |= other
        return replace(first, documents=first.documents and stage.spec.gather != "none")

    def _choice(self, stage: ChoicePlan, has: _Belongings) -> _Belongings:
        if stage.router is not None:
            has = replace(has, documents=False)  # it has read them
        for name, branch in stage.spec.branches.items():
            if branch.when is not None and branch.when.doubted is not None:
                self._check_doubt(f"{stage.where}.branches.{name}.when.doubted", has)
        first, *others = [self.through(branch, has) for branch in stage.branches]
        for other in others:
            first |= other
        return first

    def _check_doubt(self, where: str, has: _Belongings) -> None:
        if not has.clients:
            raise InputError("no model call comes before, so there is no answer to doubt", where)
        for client in has.clients:
            if not self._rated[client]:
                raise InputError(f"client {client!r} gives the answer: it needs a `quality`", where)
