"""Which parameters matter: Optuna's PED-ANOVA on the completed trials, one objective at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hermes.results.schema import parameter_column

if TYPE_CHECKING:
    import pandas as pd
    from optuna.distributions import BaseDistribution

__all__ = ["explained_share", "parameter_importance"]

_FEWEST_TRIALS = 20
_MOST_CHOICES = 12


def parameter_importance(
    completed: pd.DataFrame, parameters: Sequence[str], objectives: Mapping[str, str]
) -> dict[str, dict[str, float]]:
    """Return objective -> parameter path -> share of the effect, largest first.

    PED-ANOVA asks which parameters set the best tenth of the trials apart from the rest. With
    fewer than 20 trials it would be noise, and the answer is empty.

    Args:
        completed: Trials with metrics.
        parameters: Paths of the parameters that vary.
        objectives: Metric to `minimize` or `maximize`.
    """
    found: dict[str, dict[str, float]] = {}
    for metric, direction in objectives.items():
        known = completed[completed[metric].notna()]
        varying = [path for path in parameters if known[parameter_column(path)].nunique() > 1]
        known = known.dropna(subset=[parameter_column(path) for path in varying])
        if len(known) < _FEWEST_TRIALS or not varying or known[metric].nunique() < 2:
            continue
        found[metric] = _ped_anova(known, varying, metric, direction)
    return found


def _ped_anova(
    known: pd.DataFrame, parameters: Sequence[str], metric: str, direction: str
) -> dict[str, float]:
    import optuna

    columns = {path: known[parameter_column(path)].tolist() for path in parameters}
    ranges = {path: _distribution(values) for path, values in columns.items()}
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(direction=direction)
        study.add_trials(
            [
                optuna.trial.create_trial(
                    params={path: columns[path][row] for path in parameters},
                    distributions=ranges,
                    value=value,
                )
                for row, value in enumerate(known[metric].tolist())
            ]
        )
        shares = optuna.importance.get_param_importances(
            study, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
        )
    finally:
        optuna.logging.set_verbosity(verbosity)
    return {path: float(share) for path, share in shares.items()}


def _distribution(values: Sequence[Any]) -> BaseDistribution:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    choices = list(dict.fromkeys(values))
    if len(choices) <= _MOST_CHOICES or isinstance(choices[0], str | bool):
        return CategoricalDistribution(choices)
    if all(isinstance(choice, int) for choice in choices):
        return IntDistribution(min(choices), max(choices))
    return FloatDistribution(min(choices), max(choices))


def explained_share(groups: pd.Series, values: pd.Series) -> float:
    """Return the share of the values' variance that lies between the groups (eta squared)."""
    known = values.notna() & groups.notna()
    values, groups = values[known].astype(float), groups[known]
    total = float(((values - values.mean()) ** 2).sum())
    if not np.isfinite(total) or total <= 0:
        return 0.0
    means = values.groupby(groups).transform("mean")
    return float(((means - values.mean()) ** 2).sum()) / total
