"""The study as a user writes it: a scenario, what to vary, what to look for, how to search."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from hermes.errors import InputError, did_you_mean
from hermes.evaluation import (
    BATCHED,
    CAPACITY_METRICS,
    BatchesSpec,
    CapacitySpec,
    EvaluationSpec,
    ReplicatesSpec,
)
from hermes.evaluation.spec import as_replicates
from hermes.metrics import METRICS
from hermes.scenario.base import Positive, Spec
from hermes.scenario.scenario import Name
from hermes.sweeps.constraint import Constraint
from hermes.sweeps.dimension import Dimension
from hermes.sweeps.pruner_spec import PrunerSpec, WrittenPruner, read_pruner
from hermes.sweeps.sampler_spec import SamplerSpec, WrittenSampler, read_sampler

__all__ = ["StudySpec"]

_MOST_OBJECTIVES = 4
_CAPACITY_SEEDS = 5


class _WithCapacity(Spec):
    capacity: CapacitySpec


_Evaluate = Literal["simulation", "capacity"] | _WithCapacity


def _evaluate(value: Any) -> Any:
    if value == "simulation" or value is None:
        return None
    if value == "capacity":
        return CapacitySpec()
    if isinstance(value, dict) and list(value) == ["capacity"]:
        try:
            return CapacitySpec.model_validate(value["capacity"] or {})
        except ValidationError as error:
            found = error.errors()[0]
            field = ".".join(map(str, found["loc"]))
            hint = did_you_mean(field, CapacitySpec.model_fields)
            known = field in CapacitySpec.model_fields
            message = found["msg"] if known else f"unknown field{hint}"
            raise _wrong(f"capacity.{field}: {message}") from None
    if isinstance(value, CapacitySpec):
        return value
    hint = did_you_mean(str(value), ("simulation", "capacity"))
    raise _wrong(f"is `simulation`, `capacity` or {{capacity: {{...}}}}, got {value!r}{hint}")


def _batches(value: Any) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return {"count": value} if whole else value


class StudySpec(Spec):
    """A question about deployments, and the search that answers it."""

    name: Name
    """Name of the study, for its folder and reports."""
    question: str = ""
    """What the study is to answer, in one line for the report."""
    scenario: str | dict[str, Any]
    """The scenario: its file, from the study's folder, or the block itself."""
    set: dict[str, Any] = {}
    """Changes to the scenario that hold for every trial, by dotted path."""
    space: Annotated[dict[str, Dimension], Field(min_length=1)]
    """What varies: dotted path in the scenario to choices or a range."""
    evaluate: Annotated[
        CapacitySpec | None, BeforeValidator(_evaluate, json_schema_input_type=_Evaluate)
    ] = None
    """What a trial is: one `simulation` of the load as it is (default), or a search for the
    `capacity`, the highest load at which the scenario's `slo.attainment` holds."""
    replicates: (
        Annotated[
            ReplicatesSpec,
            BeforeValidator(as_replicates, json_schema_input_type=int | ReplicatesSpec),
        ]
        | None
    ) = None
    """Seeds for each trial; its metrics become means, each with the half-width of its 95 %
    interval. {precision: 0.05} adds seeds until the objectives are known to 5 %. Default: 1, and 5
    for a capacity."""
    warm_up: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    """Share of the requests, the first to arrive, that load the system but are not counted."""
    batches: (
        Annotated[BatchesSpec, BeforeValidator(_batches, json_schema_input_type=int | BatchesSpec)]
        | None
    ) = None
    """Batches of requests whose spread gives the intervals of a single seed. {precision: 0.05}
    simulates no more requests than it takes to know the objectives to 5 %."""
    error_bars: Annotated[int, Field(ge=2, le=1000)] | None = None
    """Judge each trial so many more times with costs that are wrong as far as the cost model's
    error goes, all else equal. Objectives and constrained metrics get columns `.low` and `.high`,
    between which 80 % of the draws lie."""
    objectives: Annotated[
        dict[str, Literal["minimize", "maximize"]],
        Field(min_length=1, max_length=_MOST_OBJECTIVES),
    ]
    """Metrics to `minimize` or `maximize`, one to four."""
    constraints: dict[str, str] = {}
    """Limits on metrics, as `"<= 500"` or `">= 0.99"`."""
    sampler: Annotated[
        SamplerSpec, BeforeValidator(read_sampler, json_schema_input_type=WrittenSampler)
    ] = SamplerSpec(name="auto")
    """`grid`, `random`, `qmc`, `tpe`, `nsga2`, `nsga3`, `gp`, `cmaes`, or `auto`, which picks one
    by the budget."""
    pruner: Annotated[
        PrunerSpec | None, BeforeValidator(read_pruner, json_schema_input_type=WrittenPruner)
    ] = None
    """Multi-fidelity: simulate each trial on a share of its requests first, and go on with the
    promising ones: `successive_halving`, `hyperband` or `median`. For one objective."""
    stop_hopeless: bool = False
    """Whether a simulation ends once it is certain to miss one of `constraints`, as a row without
    metrics. What is feasible, and so the answer, stays the same."""
    trials: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """Trials to run; default: the whole grid where there is one, otherwise 100."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of the sampler; the scenario has its own."""
    trial_timeout_s: Positive = 600.0
    """Longest a trial may take, in seconds of real time."""
    trial_memory_gib: Positive = 8.0
    """Most memory a trial may add to its process."""
    warm_start: str | None = None
    """Folder of an earlier study to learn from, from the study's folder. Its trials teach a
    sampler that learns; those that are also trials of this study are not run again."""

    @field_validator("objectives", "constraints", mode="after")
    @classmethod
    def _metrics_exist(cls, value: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        searched = info.data.get("evaluate") is not None
        for name in value:
            if name in CAPACITY_METRICS and not searched:
                raise _wrong(f"{name!r} is what a capacity search finds: add `evaluate: capacity`")
            _require_known("metric", name, [*METRICS, *(CAPACITY_METRICS if searched else ())])
        return value

    @field_validator("constraints", mode="after")
    @classmethod
    def _limits_parse(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            try:
                Constraint.parse(name, text)
            except InputError as error:
                raise _wrong(f"the limit of {error.field} {error.message}") from None
        return value

    @model_validator(mode="after")
    def _judged(self) -> Self:
        if self.sampler.name == "cmaes" and len(self.objectives) > 1:
            raise _wrong(
                f"the sampler 'cmaes' takes one objective, got {len(self.objectives)}; use nsga2"
            )
        if self.sampler.name == "cmaes" and self.constraints:
            raise _wrong("the sampler 'cmaes' knows no constraints; use tpe")
        if self.pruner is not None and len(self.objectives) > 1:
            raise _wrong(
                f"a pruner compares trials by one objective, got {len(self.objectives)}; leave "
                "out `pruner`, or make the others `constraints`"
            )
        if self.batches is not None and self.batches.precision is not None:
            for name in self.objectives:
                if not name.startswith(BATCHED):
                    raise _wrong(
                        f"batches have no interval of {name!r}, only of latencies and the "
                        "attainment; use `replicates: {precision: ...}`"
                    )
        if self.stop_hopeless and not self.constraints:
            raise _wrong("stop_hopeless needs `constraints` that could be missed")
        if self.stop_hopeless and not self.evaluation.plain:
            raise _wrong(
                "stop_hopeless is for single simulations; a capacity search stops by itself, and "
                "intervals need whole runs"
            )
        try:
            _ = self.evaluation
        except ValidationError as error:
            raise _wrong(error.errors()[0]["msg"]) from None
        return self

    @property
    def evaluation(self) -> EvaluationSpec:
        """How a candidate is judged."""
        usual = 1 if self.evaluate is None else _CAPACITY_SEEDS
        return EvaluationSpec(
            capacity=self.evaluate,
            replicates=self.replicates or ReplicatesSpec(least=usual, most=usual),
            warm_up=self.warm_up,
            batches=None if self.batches is None else self.batches.count,
            batch_precision=None if self.batches is None else self.batches.precision,
            error_bars=self.error_bars,
            barred=tuple(dict.fromkeys((*self.objectives, *self.constraints)))
            if self.error_bars
            else (),
        )

    def limits(self) -> tuple[Constraint, ...]:
        """Return the constraints, parsed."""
        return tuple(Constraint.parse(name, text) for name, text in self.constraints.items())


def _require_known(kind: str, given: Any, allowed: Any) -> None:
    if given not in allowed:
        raise _wrong(f"unknown {kind} {given!r}{did_you_mean(str(given), allowed)}")


def _wrong(message: str) -> PydanticCustomError:
    # A template without a context is taken as it is, so braces in names do no harm.
    return PydanticCustomError("wrong_study", message)  # type: ignore[arg-type,unused-ignore]
