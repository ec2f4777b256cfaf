"""Walks over the tree that a pipeline is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from hermes.scenario.pipeline.combinators import (
    Choice,
    ChoiceStage,
    Loop,
    LoopStage,
    Parallel,
    ParallelStage,
    PipelineSpec,
    Stage,
)
from hermes.scenario.pipeline.stages import StageSpec

__all__ = ["Leaf", "Node", "body_of", "kind_of", "leaves", "nodes", "sub_pipelines"]


class Node(NamedTuple):
    """A stage of any kind, and where it is written."""

    where: str
    kind: str
    body: StageSpec | Choice | Parallel | Loop


class Leaf(NamedTuple):
    """A stage that holds no others, and where it is written."""

    where: str
    kind: str
    body: StageSpec


def kind_of(stage: Stage) -> str:
    """Return the key of a stage."""
    return next(iter(type(stage).model_fields))


def body_of(stage: Stage) -> StageSpec | Choice | Parallel | Loop:
    """Return what is under the key of a stage."""
    body: StageSpec | Choice | Parallel | Loop = getattr(stage, kind_of(stage))
    return body


def nodes(where: str, stages: PipelineSpec) -> Iterator[Node]:
    """Yield all stages of a pipeline in the order they are written."""
    for number, stage in enumerate(stages):
        kind = kind_of(stage)
        at = f"{where}.{number}.{kind}"
        yield Node(at, kind, body_of(stage))
        for place, inner in sub_pipelines(stage):
            yield from nodes(f"{at}.{place}", inner)


def leaves(where: str, stages: PipelineSpec) -> Iterator[Leaf]:
    """Yield the stages of a pipeline that hold no others, in the order they are written."""
    for at, kind, body in nodes(where, stages):
        if isinstance(body, StageSpec):
            yield Leaf(at, kind, body)


def sub_pipelines(stage: Stage) -> Iterator[tuple[str, PipelineSpec]]:
    """Yield the pipelines that a combinator holds, each with its place under it."""
    match stage:
        case ChoiceStage(choice=choice):
            for name, branch in choice.branches.items():
                yield f"branches.{name}.stages", branch.stages
        case ParallelStage(parallel=parallel):
            if parallel.stages is not None:
                yield "stages", parallel.stages
            for name, stages in (parallel.each or {}).items():
                yield f"each.{name}", stages
        case LoopStage(loop=loop):
            yield "stages", loop.stages
        case _:
            return
