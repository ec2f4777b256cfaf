"""Where the time goes: the mean latency of each pipeline, stage by stage, as a picture."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hermes.errors import HermesError
from hermes.metrics import PARTS, RequestColumns
from hermes.scenario.units import TICKS_PER_MILLISECOND

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["PipelineTimes", "breakdown_png", "pipeline_times", "write_breakdown"]

# Okabe and Ito's colours, told apart by people with any colour vision.
_COLOURS = dict(zip(PARTS, ("#e69f00", "#0072b2", "#56b4e9", "#009e73", "#d55e00"), strict=True))
_INK, _SOFT = "#1c2530", "#5b6774"
_ROW_INCHES, _HEAD_INCHES = 0.34, 0.75


@dataclass(frozen=True, slots=True)
class PipelineTimes:
    """Mean milliseconds of a pipeline's completed requests.

    Attributes:
        pipeline: Its name.
        requests: How many were completed.
        stages: Names of the stages that were visited, in order.
        parts: Of a request, by stage and part: `[stages, PARTS]`. They add up to its mean latency.
    """

    pipeline: str
    requests: int
    stages: tuple[str, ...]
    parts: NDArray[np.float64]

    @property
    def mean_ms(self) -> float:
        """Mean latency of a request."""
        return float(self.parts.sum())


def pipeline_times(requests: RequestColumns) -> list[PipelineTimes]:
    """Return the times of every pipeline that has completed requests.

    Of parallel branches the one counts that the request waited for.
    """
    stages, done = requests.stages, requests.completed
    counted = stages.critical & done[stages.request]
    totals = np.zeros((len(stages.stage_names), len(PARTS)))
    for column, part in enumerate(PARTS):
        ticks = stages.part(part)[counted] / TICKS_PER_MILLISECOND
        np.add.at(totals[:, column], stages.stage[counted], ticks)
    found = []
    for number, pipeline in enumerate(requests.pipeline_names):
        served = int(np.count_nonzero(done & (requests.pipeline == number)))
        own = [
            row
            for row, name in enumerate(stages.stage_names)
            if name.split("/", 1)[0] == pipeline and totals[row].any()
        ]
        if served and own:
            names = tuple(stages.stage_names[row].split("/", 1)[1] for row in own)
            found.append(PipelineTimes(pipeline, served, names, totals[own] / served))
    return found


def write_breakdown(path: Path, name: str, requests: RequestColumns) -> None:
    """Write the picture.

    Raises:
        HermesError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(breakdown_png(name, pipeline_times(requests)))
    except OSError as error:
        raise HermesError(f"{path}: cannot write the picture: {error.strerror}") from None


def breakdown_png(name: str, times: list[PipelineTimes]) -> bytes:
    """Return a picture 1600 pixels wide: a panel a pipeline, a bar a stage."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    rows = [len(each.stages) for each in times] or [1]
    height = 0.9 + sum(_HEAD_INCHES + _ROW_INCHES * count for count in rows)
    with rc_context({"font.family": "DejaVu Sans", "font.size": 10, "text.parse_math": False}):
        figure = Figure(figsize=(10, height), dpi=160, facecolor="white", layout="constrained")
        figure.suptitle(
            f"{name}: where the time of a request goes", x=0.02, ha="left", fontsize=13.5,
            fontweight="bold", color=_INK,
        )  # fmt: skip
        panels = figure.subplots(
            len(rows), 1, squeeze=False, gridspec_kw={"height_ratios": [n + 1 for n in rows]}
        )
        for axes, each in zip(panels[:, 0], times, strict=False):
            _draw(axes, each)
        if times:
            handles, labels = panels[0, 0].get_legend_handles_labels()
            figure.legend(
                handles, labels, loc="outside lower left", ncols=len(PARTS), frameon=False
            )
        else:
            panels[0, 0].set_axis_off()
            panels[0, 0].text(0.5, 0.5, "no request was completed", ha="center", color=_SOFT)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": "Hermes"})
    return buffer.getvalue()


def _draw(axes: Axes, times: PipelineTimes) -> None:
    rows = range(len(times.stages))
    left = np.zeros(len(rows))
    for column, part in enumerate(PARTS):
        widths = times.parts[:, column]
        axes.barh(rows, widths, left=left, height=0.66, color=_COLOURS[part], label=part)
        left += widths
    whole = left.max() or 1.0
    for row, total in enumerate(left):
        axes.text(total + whole / 120, row, _milliseconds(total), va="center", color=_SOFT)
    axes.set_yticks(list(rows), times.stages)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, whole * 1.1)
    noun = "request" if times.requests == 1 else "requests"
    axes.set_title(
        f"{times.pipeline}   {_milliseconds(times.mean_ms)} on average over "
        f"{times.requests:,} {noun}", loc="left", fontsize=10.5, color=_INK,
    )  # fmt: skip
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=_SOFT, labelcolor=_INK)
    axes.set_xlabel("ms", loc="right", color=_SOFT)


def _milliseconds(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f} ms"
    return f"{value:.3g} ms"
