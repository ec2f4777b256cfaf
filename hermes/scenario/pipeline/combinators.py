"""Combinators: how stages make a pipeline.

A pipeline is a list of stages; a combinator is a stage that holds pipelines of its own. So a
pipeline is a tree and can have no cycles.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from hermes.scenario.base import NonNegative, PositiveInt, Spec
from hermes.scenario.choice import by_key
from hermes.scenario.distributions import LengthSpec
from hermes.scenario.pipeline.stages import (
    EmbedStage,
    EncodeStage,
    GenerateStage,
    ProcessStage,
    RerankStage,
    RetrieveStage,
    ToolStage,
)

__all__ = [
    "BranchSpec",
    "Choice",
    "ChoiceStage",
    "Doubt",
    "Loop",
    "LoopStage",
    "Parallel",
    "ParallelStage",
    "PipelineSpec",
    "RouterSpec",
    "Stage",
    "TimesColumn",
    "When",
]

_Share = Annotated[float, Field(ge=0, le=1)]
_Bounds = Annotated[
    tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]], Field(strict=False)
]


class Doubt(Spec):
    """How a check of the answer so far errs."""

    right: _Share
    """Share of right answers that are doubted."""
    wrong: _Share
    """Share of wrong answers that are doubted."""


class When(Spec):
    """What must hold for a branch to be taken; all that is given must."""

    prompt_tokens: _Bounds | None = None
    """Prompt tokens of the request, from and up to."""
    context_tokens: _Bounds | None = None
    """Tokens gathered so far, from and up to."""
    difficulty: str | None = None
    """Difficulty class of the request, as `workload.difficulty` names them; what the router takes
    it for, where there is one."""
    attribute: Annotated[dict[str, _Bounds], Field(min_length=1)] | None = None
    """Columns `attribute.NAME` of the trace, by name, from and up to."""
    doubted: Doubt | None = None
    """The answer so far is doubted: a cascade goes on to a better model. Needs the `quality` of the
    clients that gave it."""
    pending_below: Annotated[dict[str, PositiveInt], Field(min_length=1)] | None = None
    """Requests queued or running per replica that a client must have fewer of, by client."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self == When.model_construct():
            raise PydanticCustomError("empty_condition", "holds no condition")
        ranges = {"prompt_tokens": self.prompt_tokens, "context_tokens": self.context_tokens}
        ranges |= {f"attribute.{name}": bounds for name, bounds in (self.attribute or {}).items()}
        for name, bounds in ranges.items():
            if bounds is not None and bounds[0] > bounds[1]:
                raise PydanticCustomError(
                    "empty_range",
                    "{name}: {low} to {high} holds nothing",
                    {"name": name, "low": bounds[0], "high": bounds[1]},
                )
        return self


class BranchSpec(Spec):
    """One of the ways a request may go."""

    when: When | None = None
    """Taken by requests for which this holds, if no branch before it is; default: see `weight`."""
    weight: NonNegative = 1.0
    """Without `when`: its share of the requests that no condition has taken."""
    stages: PipelineSpec = ()
    """What is done; may be nothing."""

    @model_validator(mode="after")
    def _condition_or_weight(self) -> Self:
        if self.when is not None and "weight" in self.model_fields_set:
            raise PydanticCustomError(
                "condition_and_weight", "a branch has `when` or `weight`, not both"
            )
        return self


class RouterSpec(Spec):
    """A small model that decides, at a cost of its own."""

    client: str | None = None
    """Client to call; default: every client that serves the model."""
    model: str | None = None
    """Model to call; default: the only model the clients serve."""
    output_tokens: PositiveInt = 1
    """Tokens it answers with."""
    confusion: Annotated[dict[str, dict[str, NonNegative]], Field(min_length=1)] | None = None
    """What it takes a request for, by weight, for each true difficulty class; default: that."""

    @field_validator("confusion", mode="after")
    @classmethod
    def _takes_it_for_something(
        cls, value: dict[str, dict[str, NonNegative]] | None
    ) -> dict[str, dict[str, NonNegative]] | None:
        for true, taken in (value or {}).items():
            if not any(taken.values()):
                raise PydanticCustomError(
                    "no_weight", "{true}: at least one weight must be above 0", {"true": true}
                )
        return value


class Choice(Spec):
    """One of several branches."""

    branches: Annotated[dict[str, BranchSpec], Field(min_length=1)]
    """Branches by name, tried in order: first those with `when`, the others share by weight."""
    router: RouterSpec | None = None
    """A model that is asked first; default: the decision costs nothing."""

    @field_validator("branches", mode="after")
    @classmethod
    def _somebody_is_taken(cls, value: dict[str, BranchSpec]) -> dict[str, BranchSpec]:
        free = [branch.weight for branch in value.values() if branch.when is None]
        if not free:
            raise PydanticCustomError(
                "no_default", "every branch has a condition: give one without `when` for the rest"
            )
        if not any(free):
            raise PydanticCustomError(
                "no_weight", "at least one branch without `when` needs a weight above 0"
            )
        return value


class Parallel(Spec):
    """Several branches at once, each with the context gathered so far."""

    branches: PositiveInt | None = None
    """How many times `stages` runs at once."""
    stages: PipelineSpec | None = None
    """What each branch does, where all do the same."""
    each: Annotated[dict[str, PipelineSpec], Field(min_length=1)] | None = None
    """What the branches do, by name, where they differ."""
    wait_for: PositiveInt | None = None
    """Go on when so many branches are done, and stop the others; default: all."""
    gather: Literal["all", "first", "none"] = "all"
    """Whose new context is kept: of all branches waited for, of the first to be done, of none."""
    verdict: Literal["last", "majority", "any"] = "last"
    """Whether the answer is right: as the last branch to be done has it, as most have it (a vote),
    or if any is (a perfect verifier)."""

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        same = self.branches is not None and self.stages is not None and self.each is None
        apart = self.branches is None and self.stages is None and self.each is not None
        if not (same or apart):
            raise PydanticCustomError(
                "parallel_form", "needs either `branches` (how many) and `stages`, or `each`"
            )
        count = self.branches if self.branches is not None else len(self.each or {})
        if self.wait_for is not None and self.wait_for > count:
            raise PydanticCustomError(
                "wait_for",
                "wait_for: {given} of {count} branches cannot be done",
                {"given": self.wait_for, "count": count},
            )
        return self


class TimesColumn(Spec):
    """`{column: ...}`: as often as a column of the trace says."""

    column: str
    """Name of the column, after `attribute.` in its header."""


class Loop(Spec):
    """The same stages again and again."""

    times: LengthSpec | TimesColumn
    """How often: a number, a distribution such as `{geometric: {mean: 3}}`, or `{column: NAME}` of
    the trace."""
    stages: PipelineSpec
    """What is done each time."""

    @field_validator("times", mode="wrap")
    @classmethod
    def _column_first(cls, value: Any, handler: Any, info: ValidationInfo) -> Any:
        del info
        if isinstance(value, dict) and "column" in value:
            return TimesColumn.model_validate(value)
        return value if isinstance(value, TimesColumn) else handler(value)


class ParallelStage(Spec):
    """A fork and its join."""

    parallel: Parallel
    """The branches."""


class ChoiceStage(Spec):
    """A decision."""

    choice: Choice
    """The branches."""


class LoopStage(Spec):
    """A repetition."""

    loop: Loop
    """What is repeated."""


Stage = Annotated[
    GenerateStage
    | EmbedStage
    | EncodeStage
    | RetrieveStage
    | RerankStage
    | ProcessStage
    | ToolStage
    | ParallelStage
    | ChoiceStage
    | LoopStage,
    by_key(
        "a stage",
        {
            "generate": GenerateStage,
            "embed": EmbedStage,
            "encode": EncodeStage,
            "retrieve": RetrieveStage,
            "rerank": RerankStage,
            "process": ProcessStage,
            "tool": ToolStage,
            "parallel": ParallelStage,
            "choice": ChoiceStage,
            "loop": LoopStage,
        },
    ),
]
"""One stage, told by its key."""
PipelineSpec = Annotated[tuple[Stage, ...], Field(strict=False)]
"""Stages, one after the other."""
for _model in (BranchSpec, Parallel, Loop, Choice, ParallelStage, ChoiceStage, LoopStage):
    _model.model_rebuild()
