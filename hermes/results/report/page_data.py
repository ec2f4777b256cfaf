"""The data block of the HTML report: the trials the charts draw, as columns."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from hermes.evaluation import HIGH, LOW
from hermes.results.pareto import answerable
from hermes.results.report.contents import Report
from hermes.results.report.wording import metric_label, metric_text, value_text
from hermes.results.schema import parameter_column

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PageData", "page_data"]

_MOST_POINTS = 4000
_MOST_GROUPS = 7
_MORE_METRICS = (
    "ttft_ms.p50",
    "tpot_ms.p50",
    "e2el_ms.p99",
    "request_throughput",
    "request_goodput",
    "tokens_per_s_per_user",
    "cost_per_million_tokens",
)
_UNSAFE = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


@dataclass(frozen=True, slots=True)
class PageData:
    """Columns of the completed trials, and what the charts show at first."""

    number: list[int]
    ok: list[bool]
    front: list[bool]
    knee: int | None
    kneeName: str  # noqa: N815 - read by page.js, in its spelling
    columns: list[dict[str, Any]]
    objectives: list[dict[str, str]]
    parallel: list[str]
    x: str
    y: str
    colour: str | None
    completed: int

    def json(self) -> str:
        """Return the block as JSON that cannot end the script element it stands in."""
        return json.dumps(asdict(self), allow_nan=False).translate(_UNSAFE)


def page_data(report: Report) -> PageData:
    """Return what the charts need; no columns when there is nothing to draw."""
    completed = report.trials[report.trials["status"].eq("completed")]
    chosen = _sample(report, completed)
    numbers = chosen["number"].tolist()
    on_front = set(report.front["number"].tolist())
    metrics = _metrics(report, chosen)
    ok = answerable(chosen).tolist()
    columns = [_metric_column(report, chosen, name, ok) for name in metrics]
    columns += [_parameter_column(chosen, path, name) for path, name in report.parameters.items()]
    objectives = [name for name in report.objectives if name in metrics]
    x, y = _axes(objectives, metrics)
    return PageData(
        number=numbers,
        ok=ok,
        front=[number in on_front for number in numbers],
        knee=numbers.index(report.knee) if report.knee in numbers else None,
        kneeName="knee" if len(report.objectives) > 1 else "best",
        columns=columns if x else [],
        objectives=[
            {"key": name, "direction": way}
            for name, way in report.objectives.items()
            if name in metrics
        ],
        parallel=[*map(parameter_column, report.parameters), *(objectives or [x, y])],
        x=x,
        y=y,
        colour=parameter_column(report.colour_by) if report.colour_by else None,
        completed=len(completed),
    )


def _sample(report: Report, completed: pd.DataFrame) -> pd.DataFrame:
    """Return at most so many trials as a browser draws at ease, the front always among them."""
    if len(completed) <= _MOST_POINTS:
        return completed
    stride = math.ceil(len(completed) / _MOST_POINTS)
    kept = completed["number"].isin(report.front["number"]).to_numpy(copy=True)
    kept[::stride] = True
    return completed.loc[kept]


def _metrics(report: Report, chosen: pd.DataFrame) -> list[str]:
    wanted = dict.fromkeys([*report.objectives, *report.essentials, *_MORE_METRICS])
    return [name for name in wanted if name in chosen and chosen[name].notna().any()]


def _axes(objectives: Sequence[str], metrics: Sequence[str]) -> tuple[str, str]:
    """Return what stands across and up: two objectives, or one beside the first other metric."""
    if len(objectives) > 1:
        return objectives[0], objectives[1]
    others = [name for name in metrics if name not in objectives]
    if objectives:
        return (others or list(objectives))[0], objectives[0]
    return (others[0], others[-1]) if others else ("", "")


def _metric_column(
    report: Report, chosen: pd.DataFrame, name: str, ok: Sequence[bool]
) -> dict[str, Any]:
    values = [value if math.isfinite(value) else None for value in chosen[name].tolist()]
    good = [value for value, fine in zip(values, ok, strict=True) if fine and value is not None]
    known = [value for value in values if value is not None]
    log = is_logarithmic(good or known) and min(known) > 0
    bars = {
        side: [value if math.isfinite(value) else None for value in chosen[name + end].tolist()]
        for side, end in (("low", LOW), ("high", HIGH))
        if name + end in chosen
    }
    return bars | {
        "key": name,
        "label": metric_label(name),
        "name": metric_label(name, unit=False),
        "kind": "number",
        "role": "metric",
        "log": log,
        "view": _view(known, good, log),
        "group": False,
        "hover": name in report.objectives or name in report.essentials,
        "values": values,
        "texts": [metric_text(name, math.nan if value is None else value) for value in values],
    }


def _parameter_column(chosen: pd.DataFrame, path: str, name: str) -> dict[str, Any]:
    values = [_plain_value(value) for value in chosen[parameter_column(path)].tolist()]
    known = [value for value in values if value is not None]
    is_number = all(isinstance(value, int | float) and not isinstance(value, bool)
                    for value in known)  # fmt: skip
    return {
        "key": parameter_column(path),
        "label": name,
        "name": name,
        "kind": "number" if is_number else "text",
        "role": "parameter",
        "log": is_number and is_logarithmic(known),
        "view": None,
        "group": 2 <= len(set(known)) <= _MOST_GROUPS,
        "hover": True,
        "values": values,
        "texts": [value_text(value) for value in values],
    }


def is_logarithmic(values: Sequence[float]) -> bool:
    """Return whether values are spread over so many orders that only a log axis shows them."""
    return bool(values) and min(values) > 0 and max(values) / min(values) > 30


def _view(known: Sequence[float], good: Sequence[float], log: bool) -> list[float] | None:
    """Return the range to show at first where the good trials fill little of the whole range."""
    if len(good) < 2:
        return None
    bend, back = (math.log, math.exp) if log else (float, float)
    low, high, lowest, highest = (bend(f(v)) for v in (good, known) for f in (min, max))
    if high - low <= 0 or high - low > 0.35 * (highest - lowest):
        return None
    margin = 0.6 * (high - low)
    return [back(max(low - margin, lowest - 0.1 * margin)),
            back(min(high + margin, highest + 0.1 * margin))]  # fmt: skip


def _plain_value(value: Any) -> Any:
    return None if value is None or (isinstance(value, float) and math.isnan(value)) else value
