"""The samplers and their options, as a study names them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic_core import PydanticCustomError

from hermes.errors import did_you_mean
from hermes.scenario.base import PositiveInt, Spec

__all__ = [
    "SAMPLERS",
    "CmaesOptions",
    "GpOptions",
    "Nsga2Options",
    "Nsga3Options",
    "SamplerSpec",
    "TpeOptions",
    "WrittenSampler",
    "read_sampler",
]

SAMPLERS = ("auto", "cmaes", "gp", "grid", "nsga2", "nsga3", "qmc", "random", "tpe")
"""Names of the samplers."""

_Name = Literal["auto", "cmaes", "gp", "grid", "nsga2", "nsga3", "qmc", "random", "tpe"]
_Chance = Annotated[float, Field(ge=0, le=1)]


class Nsga2Options(Spec):
    """NSGA-II, a genetic algorithm for several objectives."""

    population_size: Annotated[int, Field(ge=2, le=10_000)] = 50
    """Trials in a generation."""
    crossover_prob: _Chance = 0.9
    """Chance that a child mixes two parents."""
    swapping_prob: _Chance = 0.5
    """Chance that a parameter is swapped when parents mix."""
    mutation_prob: _Chance | None = None
    """Chance that a parameter is drawn anew; default: 1 / number of parameters."""


class Nsga3Options(Nsga2Options):
    """NSGA-III: as NSGA-II, spread along reference points; for three and four objectives."""

    dividing_parameter: Annotated[int, Field(ge=1, le=100)] = 3
    """Density of the reference points."""


class TpeOptions(Spec):
    """Tree-structured Parzen estimator; best below about 1,000 trials."""

    n_startup_trials: PositiveInt = 10
    """Random trials before the model takes over."""
    n_ei_candidates: PositiveInt = 24
    """Candidates the model chooses each proposal from."""
    multivariate: bool = True
    """Whether parameters are modelled together."""


class GpOptions(Spec):
    """Gaussian process; learns most from a trial, takes seconds for each. Needs the extra `gp`."""

    n_startup_trials: PositiveInt = 10
    """Random trials before the model takes over."""


class CmaesOptions(Spec):
    """CMA-ES, for one objective over numbers. Needs the extra `cmaes`."""

    n_startup_trials: PositiveInt = 1
    """Random trials before the model takes over."""
    popsize: Annotated[int, Field(ge=2, le=10_000)] | None = None
    """Trials in a generation; default: by the number of dimensions."""


class SamplerSpec(Spec):
    """A sampler and its options."""

    name: _Name
    """Which one."""
    nsga2: Nsga2Options = Nsga2Options()
    """Options of `nsga2`."""
    nsga3: Nsga3Options = Nsga3Options()
    """Options of `nsga3`."""
    tpe: TpeOptions = TpeOptions()
    """Options of `tpe`."""
    gp: GpOptions = GpOptions()
    """Options of `gp`."""
    cmaes: CmaesOptions = CmaesOptions()
    """Options of `cmaes`."""

    @property
    def population_size(self) -> int | None:
        """Trials in a generation of a genetic sampler; None for the others."""
        genetic = {"nsga2": self.nsga2, "nsga3": self.nsga3}
        return genetic[self.name].population_size if self.name in genetic else None

    def options(self) -> dict[str, Any]:
        """Return the options of the sampler that is meant."""
        found: dict[str, Any] = self.model_dump(mode="json").get(self.name, {})
        return found


class _WithNsga2(Spec):
    nsga2: Nsga2Options


class _WithNsga3(Spec):
    nsga3: Nsga3Options


class _WithTpe(Spec):
    tpe: TpeOptions


class _WithGp(Spec):
    gp: GpOptions


class _WithCmaes(Spec):
    cmaes: CmaesOptions


WrittenSampler = _Name | _WithNsga2 | _WithNsga3 | _WithTpe | _WithGp | _WithCmaes


def read_sampler(value: Any) -> Any:
    """Return the sampler that a name, or a name with options, means."""
    if isinstance(value, SamplerSpec):
        return value
    if isinstance(value, str):
        _require_known(value)
        return SamplerSpec.model_validate({"name": value})
    if not isinstance(value, dict) or len(value) != 1:
        raise _wrong("a sampler is a name, or one name with options: {nsga2: {...}}")
    name, options = next(iter(value.items()))
    _require_known(name)
    if name in SamplerSpec.model_fields and name != "name":
        return SamplerSpec.model_validate({"name": name, name: options or {}})
    if options:
        raise _wrong(f"the sampler {name!r} has no options")
    return SamplerSpec.model_validate({"name": name})


def _require_known(given: Any) -> None:
    if given not in SAMPLERS:
        raise _wrong(f"unknown sampler {given!r}{did_you_mean(str(given), SAMPLERS)}")


def _wrong(message: str) -> PydanticCustomError:
    # A template without a context is taken as it is, so braces in names do no harm.
    return PydanticCustomError("wrong_study", message)  # type: ignore[arg-type,unused-ignore]
