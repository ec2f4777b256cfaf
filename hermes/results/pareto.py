"""The Pareto front: the trials that no other trial beats in every objective.

A point *dominates* another when it is at least as good in every objective and better in one.
The front is what nothing dominates; its *knee* is where giving up a little of one objective
stops buying much of another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hermes.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["answerable", "knee_point", "non_dominated", "pareto_front"]

_SIGNS = {"minimize": 1.0, "maximize": -1.0}
_BLOCK = 512


def non_dominated(values: np.ndarray, directions: Sequence[str]) -> np.ndarray:
    """Return which rows of *values* nothing dominates.

    Rows with a NaN are never on the front; equal rows are on it together or not at all.
    Takes O(n log n) for two objectives and O(n x front) beyond.

    Args:
        values: One row a point, one column an objective.
        directions: `minimize` or `maximize`, one for each column.
    """
    costs = _as_costs(values, directions)
    result = np.zeros(len(costs), dtype=bool)
    known = np.flatnonzero(~np.isnan(costs).any(axis=1))
    if len(known) == 0 or costs.shape[1] == 0:
        return result
    # In lexicographic order a point can only be dominated by an earlier one.
    order = known[np.lexsort(costs[known].T[::-1])]
    ranked = costs[order]
    new = np.ones(len(ranked), dtype=bool)
    new[1:] = (ranked[1:] != ranked[:-1]).any(axis=1)
    distinct = ranked[new]
    keep = _sweep(distinct) if costs.shape[1] <= 2 else _eliminate(distinct)
    result[order] = keep[np.cumsum(new) - 1]
    return result


def knee_point(values: np.ndarray, directions: Sequence[str]) -> int:
    """Return the position of the knee among the points of a front.

    With two objectives it is the point farthest from the line between the two ends of the
    front, on the better side of it, both objectives scaled to the front's range. With more, or
    where no point lies on the better side, it is the point nearest to the utopia of all best
    values. Ties go to the point better in the first objective.
    """
    costs = _as_costs(values, directions)
    if len(costs) == 0:
        raise InputError("an empty front has no knee")
    low, high = costs.min(axis=0), costs.max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    scaled = (costs - low) / span
    order = np.lexsort(scaled.T[::-1])
    if scaled.shape[1] == 2:
        # Between (0, 1) and (1, 0) the line is x + y = 1; below it is better.
        gain = 1.0 - scaled.sum(axis=1)
        best = int(order[np.argmax(gain[order])])
        if gain[best] > 1e-9:
            return best
    distance = (scaled**2).sum(axis=1)
    return int(order[np.argmin(distance[order])])


def answerable(frame: pd.DataFrame) -> pd.Series:
    """Return which trials may answer the study: completed, and no constraint broken."""
    answer: pd.Series = frame["status"].eq("completed")
    if "feasible" in frame:
        answer &= frame["feasible"].astype("boolean").fillna(value=True).astype(bool)
    return answer


def pareto_front(
    frame: pd.DataFrame, objectives: Mapping[str, str], feasible_only: bool = True
) -> pd.DataFrame:
    """Return the trials on the front, best in the first objective first.

    Args:
        frame: Trials as `read_trials` returns them.
        objectives: Metric to `minimize` or `maximize`.
        feasible_only: Leave out trials that break a constraint.
    """
    for name, direction in objectives.items():
        if name not in frame:
            raise UnknownNameError.among("metric", name, map(str, frame.columns), "objectives")
        if direction not in _SIGNS:
            raise UnknownNameError.among("direction", direction, _SIGNS, f"objectives.{name}")
    rows = answerable(frame) if feasible_only else frame["status"].eq("completed")
    candidates = frame[rows]
    values = candidates[list(objectives)].to_numpy(dtype=float)
    front = candidates[non_dominated(values, list(objectives.values()))]
    ranks = _as_costs(front[list(objectives)].to_numpy(dtype=float), list(objectives.values()))
    return front.iloc[np.lexsort(ranks.T[::-1])]


def _as_costs(values: np.ndarray, directions: Sequence[str]) -> np.ndarray:
    """Return the values with every objective turned so that less is better."""
    points = np.asarray(values, dtype=float)
    if points.ndim != 2 or points.shape[1] != len(directions):
        raise InputError(f"{len(directions)} directions do not fit values of shape {points.shape}")
    signs = []
    for direction in directions:
        if direction not in _SIGNS:
            raise UnknownNameError.among("direction", direction, _SIGNS)
        signs.append(_SIGNS[direction])
    costs: np.ndarray = points * np.array(signs)
    return costs


def _sweep(points: np.ndarray) -> np.ndarray:
    """One or two objectives: distinct points in order stay when the last objective improves."""
    last = points[:, -1]
    keep = np.ones(len(points), dtype=bool)
    keep[1:] = last[1:] < np.minimum.accumulate(last)[:-1]
    return keep


def _eliminate(points: np.ndarray) -> np.ndarray:
    """Many objectives: each block of distinct, ordered points against the front, then itself."""
    keep = np.ones(len(points), dtype=bool)
    front = points[:0]
    for start in range(0, len(points), _BLOCK):
        block = points[start : start + _BLOCK]
        alive = np.flatnonzero(~_dominated(block, front))
        block = block[alive]
        inner = ~_dominated(block, block, ordered=True)
        keep[start : start + _BLOCK] = False
        keep[start + alive[inner]] = True
        front = np.concatenate([front, block[inner]])
    return keep


def _dominated(points: np.ndarray, rivals: np.ndarray, ordered: bool = False) -> np.ndarray:
    """Return which points some rival equals or beats everywhere; *ordered*: an earlier rival."""
    result = np.zeros(len(points), dtype=bool)
    for start in range(0, len(rivals), _BLOCK):
        left = np.flatnonzero(~result)
        some = rivals[start : start + _BLOCK]
        worse = some[:, None, 0] <= points[None, left, 0]
        for column in range(1, points.shape[1]):
            worse &= some[:, None, column] <= points[None, left, column]
        if ordered:
            worse &= np.arange(start, start + len(some))[:, None] < left[None, :]
        result[left] = worse.any(axis=0)
    return result
