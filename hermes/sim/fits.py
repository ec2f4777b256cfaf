"""Whether a deployment and a workload go together: what each only shows beside the other.

`hermes check` asks this as well as a simulation, so nothing here imports SimPy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hermes.errors import InputError
from hermes.scenario.pipeline import TimesColumn
from hermes.scenario.scenario import Scenario
from hermes.sim.classes import classes_of
from hermes.sim.deployment import Deployment
from hermes.sim.pipelines.plan import (
    ChoicePlan,
    LoopPlan,
    ParallelPlan,
    PipelinePlan,
    StagePlan,
)
from hermes.workload import Prefixes, Workload

__all__ = ["require_fit"]


def require_fit(scenario: Scenario, deployment: Deployment, workload: Workload) -> None:
    """Check that a deployment can meet a workload, before time starts.

    Raises:
        InputError: a pipeline or class goes by a column that the workload lacks; a call states
            hits that the workload's own prompts decide; blocks of the trace and of a KV cache of
            which neither holds the other.
    """
    for name in workload.pipeline_names:
        plan = deployment.pipelines[name]
        _require_attributes(plan, tuple(workload.attributes))
        if workload.prefixes is not None:
            _require_no_recall(plan)
    if workload.prefixes is not None:
        _require_block_sizes(deployment, workload.prefixes)
    classes_of(scenario, workload)


def _require_attributes(plan: PipelinePlan, known: Sequence[str]) -> None:
    for name in _attributes(plan.stages):
        if name not in known:
            has = ", ".join(known) if known else "none"
            raise InputError(
                f"the workload has no column 'attribute.{name}' (columns: {has})",
                f"pipelines.{plan.name}",
            )


def _attributes(stages: Sequence[StagePlan]) -> Iterator[str]:
    """Yield the columns that stages go by."""
    for stage in stages:
        match stage:
            case LoopPlan():
                if isinstance(stage.spec.times, TimesColumn):
                    yield stage.spec.times.column
                yield from _attributes(stage.stages)
            case ParallelPlan():
                for branch in stage.branches:
                    yield from _attributes(branch)
            case ChoicePlan():
                for spec, branch in zip(stage.spec.branches.values(), stage.branches, strict=True):
                    yield from (spec.when and spec.when.attribute) or ()
                    yield from _attributes(branch)
            case _:
                pass


def _require_no_recall(plan: PipelinePlan) -> None:
    for call in plan.calls:
        if call.spec.recall is not None:
            raise InputError(
                "the workload says which prompts share a beginning, so hits come of that; leave "
                "this out, or take requests without prefixes",
                f"{call.where}.recall",
            )


def _require_block_sizes(deployment: Deployment, prefixes: Prefixes) -> None:
    for client in deployment.clients:
        try:
            prefixes.require_goes_with(client.limits.block_size)
        except InputError as error:
            raise InputError(error.message, f"clients.{client.name}.block_size") from None
