"""The judge of short runs: Optuna's pruners, asked in an order that no worker can change.

A pruner compares a trial with what it has seen before, so its answer depends on the order it is
asked in. Here that is the order of trial numbers within a cohort, one short run after another,
whatever order the runs finished in: any number of workers gives the same answers, and an
interrupted study, judged anew from its rows, the same as an undisturbed one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hermes.sweeps.constraint import Constraint
from hermes.sweeps.pruner_spec import PrunerSpec

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

__all__ = ["SIMULATED", "Judge", "rung_column", "rung_columns", "standing"]

SIMULATED = "pruner_simulated"
"""Column: requests simulated for a trial, short runs included, in whole runs."""

_BEHIND = 1e30


def rung_column(rung: int) -> str:
    """Return the column with a trial's standing after a short run, the first being 0."""
    return f"pruner_rung.{rung}"


def rung_columns(spec: PrunerSpec) -> tuple[str, ...]:
    """Return the columns that a pruner adds to rows."""
    return (*(rung_column(rung) for rung in range(len(spec.shares()))), SIMULATED)


def standing(
    row: Mapping[str, Any], objective: str, maximize: bool, limits: Sequence[Constraint]
) -> float:
    """Return what trials are compared by: the objective; who misses a limit stands behind all.

    NaN where a run has no objective.
    """
    value = row.get(objective)
    if value is None:
        return math.nan
    missed = math.fsum(max(0.0, limit.excess(row)) for limit in limits)
    if missed > 0:
        behind = _BEHIND * (1 + min(missed, _BEHIND))
        return -behind if maximize else behind
    return float(value)


class Judge:
    """Optuna's pruner over a study's trials.

    Args:
        spec: Which pruner.
        maximize: Whether more is better.
    """

    def __init__(self, spec: PrunerSpec, maximize: bool) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._states = optuna.trial.TrialState
        self._factor = spec.reduction_factor
        self._study = optuna.create_study(
            study_name="hermes",  # hyperband deals out trials by it
            direction="maximize" if maximize else "minimize",
            pruner=_pruner(optuna.pruners, spec),
        )
        self._trials: dict[int, Any] = {}

    def prunes(self, number: int, rung: int, value: float) -> bool:
        """Take a trial's standing after a short run; return whether it ends there."""
        if number not in self._trials:
            self._trials[number] = self._study.ask()
        trial = self._trials[number]
        trial.report(value, self._factor**rung)
        return bool(trial.should_prune())

    def ended(self, number: int, value: float | None, pruned: bool) -> None:
        """Take what became of a trial in the end: its value, where it ran in full."""
        trial = self._trials.pop(number, None)
        if trial is None:
            return
        if pruned:
            self._study.tell(trial, state=self._states.PRUNED)
        elif value is None or math.isnan(value):
            self._study.tell(trial, state=self._states.FAIL)
        else:
            self._study.tell(trial, value)


def _pruner(pruners: Any, spec: PrunerSpec) -> BasePruner:
    rungs = len(spec.shares())
    if spec.name == "median":
        found: BasePruner = pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=0)
    elif spec.name == "hyperband":
        found = pruners.HyperbandPruner(
            min_resource=1,
            max_resource=spec.reduction_factor**rungs,
            reduction_factor=spec.reduction_factor,
        )
    else:
        found = pruners.SuccessiveHalvingPruner(
            min_resource=1, reduction_factor=spec.reduction_factor
        )
    return found
