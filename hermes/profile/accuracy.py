"""How far the table is off on points that were left out of it, and the roofline on all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import median

from hermes.costs.roofline import Roofline
from hermes.costs.tables import Call, CallTable, TablePass

__all__ = ["held_out_errors", "roofline_errors", "table_pass"]

READ = ("linear", "prefill", "decode", "experts", "norm", "activation", "rope", "embedding")
READ_TOO = ("sampling",)
_FOLDS = 5
Errors = dict[str, tuple[float, float, int]]
"""Median and 90th percentile of the absolute relative error, and of how many points."""


def table_pass(roofline: Roofline, calls: Sequence[Call], name: str) -> TablePass:
    """Return the table of *calls* joined to a roofline."""
    return TablePass(roofline, CallTable(calls, name), name)


def held_out_errors(roofline: Roofline, calls: Sequence[Call]) -> Errors:
    """Return the table's error on every fifth point, read from the others, fold by fold.

    The ends of what was measured at fixed other dimensions are never left out: tables are not
    meant to answer outside.
    """
    found: dict[str, list[float]] = defaultdict(list)
    used = [call for call in calls if call.operator in (*READ, *READ_TOO)]
    inner = _inner(used)
    for fold in range(_FOLDS):
        out = [call for place, call in enumerate(inner) if place % _FOLDS == fold]
        left_out = {(call.operator, call.dtype, call.shape) for call in out}
        kept = [each for each in used if (each.operator, each.dtype, each.shape) not in left_out]
        if not kept or not out:
            continue
        table = table_pass(roofline, kept, "kept")
        for call in out:
            told = table.call_seconds(call.operator, call.dtype, *call.shape)
            found[call.operator].append(abs(told / call.seconds - 1))
    return _summary(found)


def roofline_errors(roofline: Roofline, calls: Sequence[Call]) -> Errors:
    """Return the roofline's error on every point."""
    found: dict[str, list[float]] = defaultdict(list)
    used = [call for call in calls if call.operator in (*READ, *READ_TOO)]
    if used:
        table = table_pass(roofline, used, "all")
        for call in used:
            told = table.expected_seconds(call.operator, call.dtype, *call.shape)
            found[call.operator].append(abs(told / call.seconds - 1))
    return _summary(found)


def _inner(calls: Sequence[Call]) -> list[Call]:
    """Return the calls between two others along their last dimension."""
    rows: dict[tuple[str, str, tuple[float, ...]], list[Call]] = defaultdict(list)
    for call in calls:
        rows[call.operator, call.dtype, call.shape[:-1]].append(call)
    found = []
    for row in rows.values():
        found += sorted(row, key=lambda call: call.shape[-1])[1:-1]
    return found


def _summary(found: dict[str, list[float]]) -> Errors:
    summary = {}
    for operator, errors in found.items():
        ordered = sorted(errors)
        high = ordered[min(len(ordered) - 1, int(0.9 * len(ordered)))]
        summary[operator] = (median(ordered), high, len(ordered))
    return summary
