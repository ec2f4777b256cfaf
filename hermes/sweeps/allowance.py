"""What a study may ask for before somebody has to say yes to it.

A study file may come from elsewhere, and one zero too many is easily typed. Beyond these limits a
study is asked about before anything starts; they are far above what the studies here need.
"""

from __future__ import annotations

from hermes.errors import InputError
from hermes.sweeps.budget import budget_of, most_trials
from hermes.sweeps.samplers import choose_sampler
from hermes.sweeps.study import Study

__all__ = ["MOST_MEMORY_GIB", "MOST_TIMEOUT_S", "MOST_TRIALS", "require_allowed"]

MOST_TRIALS = 100_000
"""Trials of a study; about 7 MB of results."""
MOST_MEMORY_GIB = 64.0
"""Memory that one trial may add to its process."""
MOST_TIMEOUT_S = 24 * 3600.0
"""Seconds that one trial may take."""


def require_allowed(study: Study, trials: int | None = None) -> None:
    """Refuse a study that asks for more than is usual.

    Args:
        study: The study.
        trials: Trials in all, instead of the study's.

    Raises:
        InputError: It does; the message names the field, what it asks for and the limit.
    """
    spec = study.spec
    wanted = trials or most_trials(study, budget_of(study, choose_sampler(spec)))
    if wanted is not None and study.space.size is not None:
        wanted = min(wanted, study.space.size)
    for field, asked, most, unit in (
        ("trials", wanted, MOST_TRIALS, "trials"),
        ("trial_memory_gib", spec.trial_memory_gib, MOST_MEMORY_GIB, "GiB for one trial"),
        ("trial_timeout_s", spec.trial_timeout_s, MOST_TIMEOUT_S, "seconds for one trial"),
    ):
        if asked is not None and asked > most:
            raise InputError(
                f"the study asks for {asked:,g} {unit}, above {most:,g}; add --yes where that is "
                "meant",
                field,
                study.file,
            )
