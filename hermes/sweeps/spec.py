"""The study as a user writes it: a scenario, what to vary, what to look for, how to search."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator
from pydantic_core import PydanticCustomError

from hermes.errors import InputError, did_you_mean
from hermes.metrics import METRICS
from hermes.scenario.base import Positive, PositiveInt, Spec
from hermes.scenario.scenario import Name
from hermes.sweeps.constraint import Constraint
from hermes.sweeps.dimension import Dimension

__all__ = ["SAMPLERS", "Nsga2Options", "SamplerSpec", "StudySpec", "TpeOptions"]

SAMPLERS = ("auto", "grid", "nsga2", "random", "tpe")
"""Names of the samplers."""

_MOST_OBJECTIVES = 4


class Nsga2Options(Spec):
    """NSGA-II, a genetic algorithm for several objectives."""

    population_size: Annotated[int, Field(ge=2, le=10_000)] = 50
    """Trials in a generation."""
    crossover_prob: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Chance that a child mixes two parents."""
    swapping_prob: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Chance that a parameter is swapped when parents mix."""
    mutation_prob: Annotated[float, Field(ge=0, le=1)] | None = None
    """Chance that a parameter is drawn anew; default: 1 / number of parameters."""


class TpeOptions(Spec):
    """Tree-structured Parzen estimator; best below about 1,000 trials."""

    n_startup_trials: PositiveInt = 10
    """Random trials before the model takes over."""
    n_ei_candidates: PositiveInt = 24
    """Candidates the model chooses each proposal from."""
    multivariate: bool = True
    """Whether parameters are modelled together."""


class SamplerSpec(Spec):
    """A sampler and its options."""

    name: Literal["auto", "grid", "nsga2", "random", "tpe"]
    """Which one."""
    nsga2: Nsga2Options = Nsga2Options()
    """Options of `nsga2`."""
    tpe: TpeOptions = TpeOptions()
    """Options of `tpe`."""


class _WithNsga2(Spec):
    nsga2: Nsga2Options


class _WithTpe(Spec):
    tpe: TpeOptions


_Written = Literal["auto", "grid", "nsga2", "random", "tpe"] | _WithNsga2 | _WithTpe


def _sampler(value: Any) -> Any:
    if isinstance(value, SamplerSpec):
        return value
    if isinstance(value, str):
        _require_known("sampler", value, SAMPLERS)
        return SamplerSpec.model_validate({"name": value})
    if not isinstance(value, dict) or len(value) != 1:
        raise _wrong("a sampler is a name, or one name with options: {nsga2: {...}}")
    name, options = next(iter(value.items()))
    _require_known("sampler", name, SAMPLERS)
    if name in {"nsga2", "tpe"}:
        return SamplerSpec.model_validate({"name": name, name: options or {}})
    if options:
        raise _wrong(f"the sampler {name!r} has no options")
    return SamplerSpec.model_validate({"name": name})


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
    objectives: Annotated[
        dict[str, Literal["minimize", "maximize"]],
        Field(min_length=1, max_length=_MOST_OBJECTIVES),
    ]
    """Metrics to `minimize` or `maximize`, one to four."""
    constraints: dict[str, str] = {}
    """Limits on metrics, as `"<= 500"` or `">= 0.99"`."""
    sampler: Annotated[SamplerSpec, BeforeValidator(_sampler, json_schema_input_type=_Written)] = (
        SamplerSpec(name="auto")
    )
    """`grid`, `random`, `tpe`, `nsga2`, or `auto`, which picks one of them by the budget."""
    trials: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """Trials to run; default: the whole grid where there is one, otherwise 100."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of the sampler; the scenario has its own."""
    trial_timeout_s: Positive = 600.0
    """Longest a trial may take, in seconds of real time."""

    @field_validator("objectives", "constraints", mode="after")
    @classmethod
    def _metrics_exist(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            _require_known("metric", name, METRICS)
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

    def limits(self) -> tuple[Constraint, ...]:
        """Return the constraints, parsed."""
        return tuple(Constraint.parse(name, text) for name, text in self.constraints.items())


def _require_known(kind: str, given: Any, allowed: Any) -> None:
    if given not in allowed:
        raise _wrong(f"unknown {kind} {given!r}{did_you_mean(str(given), allowed)}")


def _wrong(message: str) -> PydanticCustomError:
    # A template without a context is taken as it is, so braces in names do no harm.
    return PydanticCustomError("wrong_study", message)  # type: ignore[arg-type,unused-ignore]
