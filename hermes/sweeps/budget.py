"""How many trials a study runs."""

from __future__ import annotations

from hermes.errors import InputError
from hermes.sweeps.sampler_spec import SamplerSpec
from hermes.sweeps.samplers import DEFAULT_TRIALS
from hermes.sweeps.study import Study

__all__ = ["budget_of", "check_grid", "most_trials"]


def budget_of(study: Study, chosen: SamplerSpec) -> int | None:
    """Return the trials to run under a sampler; None for the whole grid."""
    if study.spec.trials is not None or chosen.name == "grid":
        return study.spec.trials
    return DEFAULT_TRIALS


def most_trials(study: Study, budget: int | None) -> int | None:
    """Return how many trials there can be: the budget, or the points of the space if fewer."""
    known = [count for count in (budget, study.space.size) if count is not None]
    return min(known) if known else None


def check_grid(study: Study) -> None:
    """Check that the study's grid can be walked.

    Raises:
        InputError: A dimension is continuous, or there are absurdly many points.
    """
    try:
        study.space.check_grid(study.spec.trials)
    except InputError as error:
        raise error.inside("", study.file) from None
