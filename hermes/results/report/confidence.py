"""What a report says about how sure a trial's numbers are: error bars, and what costs rest on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hermes.evaluation import HIGH, LOW
from hermes.results.report.contents import Report
from hermes.results.report.wording import metric_text

__all__ = ["bar_ends", "bar_text", "barred", "doubt_sentence", "doubt_text", "doubtful"]

_DOUBTFUL = 0.05
"""Share of the busy time from which a trial is flagged."""
_SHARES = ("uncalibrated", "extrapolated")


def bar_ends(row: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    """Return the ends of a metric's error bar, where the study has one."""
    low, high = row.get(name + LOW), row.get(name + HIGH)
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return None
    return float(low), float(high)


def bar_text(row: Mapping[str, Any], name: str, unit: bool = True) -> str:
    """Return a metric's value, and its error bar where there is one."""
    text = metric_text(name, row[name], unit=unit)
    ends = bar_ends(row, name)
    if ends is None:
        return text
    low, high = (metric_text(name, end, unit=False) for end in ends)
    return f"{text} ({low} to {high})"


def barred(report: Report) -> bool:
    """Return whether the study has error bars."""
    return any(name + LOW in report.trials for name in report.objectives)


def doubt_text(row: Mapping[str, Any]) -> str:
    """Return which share of the time rests on costs that are not known on the device, if much."""
    shares = {kind: row.get(f"cost_share.{kind}") for kind in _SHARES}
    known = {kind: share for kind, share in shares.items() if share and share >= _DOUBTFUL}
    return ", ".join(f"{share:.0%} {kind}" for kind, share in known.items())


def doubtful(report: Report) -> list[int]:
    """Return the trials of the front that rest on extrapolation."""
    rows = report.front.to_dict("records")
    return [int(row["number"]) for row in rows if doubt_text({str(k): v for k, v in row.items()})]


def doubt_sentence(report: Report, number: int) -> str:
    """Return what is to be said of a trial that rests on extrapolation; else nothing."""
    doubt = doubt_text(report.trial(number))
    if not doubt:
        return ""
    return (
        f"Mind how well its costs are known: of its devices' time, {doubt}; nothing measured on "
        "this device stands behind that share."
    )
