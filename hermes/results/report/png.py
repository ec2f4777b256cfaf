"""The Pareto picture as PNG: for a pull request, a slide, a terminal that shows images."""

from __future__ import annotations

import io
import textwrap
from typing import TYPE_CHECKING, Any

from hermes.results.pareto import answerable
from hermes.results.report.answer import count_sentence, headline, settings_text, winners
from hermes.results.report.confidence import bar_ends, barred, doubtful
from hermes.results.report.contents import Report
from hermes.results.report.page_data import PageData, page_data
from hermes.results.report.wording import metric_label, value_text
from hermes.results.schema import parameter_column

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

__all__ = ["pareto_png"]

# Okabe and Ito's colours, told apart by people with any colour vision; shapes say it twice.
_PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#5b4a9c")
_SHAPES = "osD^vPX"
_INK, _SOFT, _GREY = "#1c2530", "#5b6774", "#a7b1bb"
_MOST_LABELS = 8
_OFFSETS = [(dx, dy) for dy in (8, -8, 24, -24) for dx in (-13, 13)]


def pareto_png(report: Report) -> bytes:
    """Return a picture of 1600 x 1000 pixels."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # A caller's own matplotlib settings must not leak in, nor a `$` in a name start a formula.
    with rc_context({"font.family": "DejaVu Sans", "font.size": 10, "text.parse_math": False}):
        figure = Figure(figsize=(10, 6.25), dpi=160, facecolor="white")
        canvas = FigureCanvasAgg(figure)
        data = page_data(report)
        _title(figure, report)
        axes = figure.add_axes((0.085, 0.12, 0.885, 0.685))
        if data.columns:
            _draw(axes, report, data)
            _label_front(canvas, axes, report, data)
        else:
            axes.set_axis_off()
            axes.text(0.5, 0.5, "no completed trial to draw", ha="center", color=_SOFT)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": "Hermes"})
    return buffer.getvalue()


def _title(figure: Figure, report: Report) -> None:
    title = textwrap.shorten(headline(report), 92, placeholder=" …")
    figure.text(0.025, 0.945, title, fontsize=13.5, fontweight="bold", color=_INK)
    question = textwrap.shorten(report.question or report.name, 125, placeholder=" …")
    figure.text(0.025, 0.9, question, fontsize=10, color=_SOFT)
    figure.text(0.025, 0.865, _below(report), fontsize=10, color=_SOFT)


def _below(report: Report) -> str:
    """Return the line below the question: what was tried, and how sure the numbers are."""
    lines = [count_sentence(report)]
    if barred(report):
        lines.append("Bars: 80 % of what wrong costs give.")
    if doubts := len(doubtful(report)):
        lines.append(f"{doubts} of {len(report.front)} on the front rest on extrapolated costs.")
    return " ".join(lines)


def _draw(axes: Axes, report: Report, data: PageData) -> None:
    completed = report.trials[report.trials["status"].eq("completed")]
    drawn = completed[completed["number"].isin(data.number)]
    good = answerable(drawn)
    broken = drawn[~good]
    if len(broken):
        axes.scatter(broken[data.x], broken[data.y], marker="x", s=22, linewidths=0.9,
                     color=_GREY, label="breaks a constraint", zorder=2)  # fmt: skip
    _draw_bars(axes, report, data)
    _draw_groups(axes, report, data, drawn)
    _draw_front(axes, report, data)
    _style(axes, data)
    known = {column["key"]: column for column in data.columns}
    for name, direction in ((data.x, "x"), (data.y, "y")):
        if known[name]["view"]:
            axes.set(**{f"{direction}lim": known[name]["view"]})
        elif drawn[name].min() >= 0 > getattr(axes, f"get_{direction}lim")()[0]:
            axes.set(**{f"{direction}lim": (0, None)})


def _draw_bars(axes: Axes, report: Report, data: PageData) -> None:
    """Draw the error bars of the front, where the study has some."""
    for each in report.front.to_dict("records"):
        row = {str(name): value for name, value in each.items()}
        style: dict[str, Any] = {"color": _SOFT, "linewidth": 1.0, "zorder": 4, "alpha": 0.8}
        across, up = bar_ends(row, data.x), bar_ends(row, data.y)
        if across is not None:
            axes.plot(across, (row[data.y], row[data.y]), **style)
        if up is not None:
            axes.plot((row[data.x], row[data.x]), up, **style)


def _draw_groups(axes: Axes, report: Report, data: PageData, drawn: pd.DataFrame) -> None:
    column = parameter_column(report.colour_by) if report.colour_by else None
    values = sorted(drawn[column].dropna().unique()) if column else [None]
    good = drawn[answerable(drawn)]
    on_front = good["number"].isin(report.front["number"])
    for index, value in enumerate(values):
        inside = good[column].eq(value) if column else on_front | True
        style: dict[str, Any] = {"color": _PALETTE[index % 7], "marker": _SHAPES[index % 7]}
        label = value_text(value) if column else "within every constraint"
        rest, best = good[inside & ~on_front], good[inside & on_front]
        axes.scatter(rest[data.x], rest[data.y], s=34, alpha=0.45, linewidths=0, zorder=3, **style)
        axes.scatter(best[data.x], best[data.y], s=78, edgecolors=_INK, linewidths=1.1, zorder=5,
                     **style)  # fmt: skip
        if len(rest) + len(best):
            axes.scatter([], [], s=50, label=label, **style)


def _draw_front(axes: Axes, report: Report, data: PageData) -> None:
    if report.front.empty:
        return
    if list(report.objectives)[:2] == [data.x, data.y] and len(report.objectives) == 2:
        line = report.front.sort_values(data.x)
        way = "steps-post" if report.objectives[data.x] == "minimize" else "steps-pre"
        axes.plot(line[data.x], line[data.y], drawstyle=way, color=_INK, lw=1.2, zorder=4,
                  label="Pareto front")  # fmt: skip
    knee = report.trial(report.knee) if report.knee is not None else {}
    if knee:
        axes.scatter([knee[data.x]], [knee[data.y]], s=260, facecolors="none",
                     edgecolors="#c00000", linewidths=1.8, zorder=6)  # fmt: skip


def _style(axes: Axes, data: PageData) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator

    axes.set_xlabel(metric_label(data.x), color=_INK, fontsize=11)
    axes.set_ylabel(metric_label(data.y), color=_INK, fontsize=11)
    logarithmic = {column["key"] for column in data.columns if column["log"]}
    for name, axis in ((data.x, axes.xaxis), (data.y, axes.yaxis)):
        if name in logarithmic:
            axes.set(**{f"{axis.axis_name}scale": "log"})
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        if name in logarithmic:
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    axes.grid(color="#e8ecf0", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_GREY)
    axes.tick_params(colors=_SOFT)
    axes.margins(0.06, 0.09)


def _label_front(canvas: FigureCanvasAgg, axes: Axes, report: Report, data: PageData) -> None:
    """Write configurations beside the front's points, where the words cover nothing."""
    legend = axes.legend(
        loc="best", frameon=True, framealpha=0.9, edgecolor="#dde2e8", fontsize=9,
        title=report.parameters.get(report.colour_by or ""), title_fontsize=9,
    )  # fmt: skip
    canvas.draw()
    renderer = canvas.get_renderer()
    frame = axes.get_window_extent(renderer).padded(4)
    marks = _marks(axes, report, data)
    taken = [legend.get_window_extent(renderer)]
    for number in _labelled(report):
        row = report.trial(number)
        knee = number == report.knee
        best: tuple[int, Any, Any] | None = None
        for dx, dy in _OFFSETS:
            note = axes.annotate(
                "\n".join(textwrap.wrap(settings_text(report, number), 22, break_long_words=False)),
                (row[data.x], row[data.y]), (dx, dy), textcoords="offset points", fontsize=8,
                ha="left" if dx > 0 else "right", va="bottom" if dy > 0 else "top",
                color="#a00000" if knee else _INK, zorder=7, linespacing=1.15,
                fontweight="bold" if knee else "normal",
                bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1},
            )  # fmt: skip
            box = note.get_window_extent(renderer)
            inside = frame.contains(box.x0, box.y0) and frame.contains(box.x1, box.y1)
            covered = int(box.count_contains(marks)) + abs(dy) // 6
            free = inside and not any(box.overlaps(one) for one in taken)
            if free and (best is None or covered < best[0]):
                if best:
                    best[1].remove()
                best = (covered, note, box)
            else:
                note.remove()
        if best:
            taken.append(best[2])


def _marks(axes: Axes, report: Report, data: PageData) -> Any:
    """Return where labels should not lie, in pixels: all points, the front's line thrice."""
    import numpy as np

    completed = report.trials[report.trials["status"].eq("completed")]
    points = axes.transData.transform(completed[[data.x, data.y]].to_numpy(dtype=float))
    front = report.front.sort_values(data.x)
    ends = axes.transData.transform(front[[data.x, data.y]].to_numpy(dtype=float))
    corners = ends
    if report.objectives.get(data.x) == "minimize":
        corners = np.column_stack([np.append(ends[1:, 0], ends[-1:, 0]), ends[:, 1]])
    elif len(ends):
        corners = np.column_stack([np.append(ends[:1, 0], ends[:-1, 0]), ends[:, 1]])
    path = np.stack([ends, corners], axis=1).reshape(-1, 2)
    steps = np.linspace(path[:-1], path[1:], 40).reshape(-1, 2)
    marks = np.concatenate([points, steps, np.repeat(ends, 30, axis=0)])
    return marks[np.isfinite(marks).all(axis=1)]


def _labelled(report: Report) -> list[int]:
    """Return the trials to label: the winners, then the rest of a flat front, evenly."""
    if report.front.empty:
        return []
    first = [winner.number for winner in winners(report)]
    numbers = report.front["number"].tolist() if len(report.objectives) == 2 else []
    step = max(1, len(numbers) // _MOST_LABELS)
    return list(dict.fromkeys([*first, *numbers[::step]]))[: _MOST_LABELS + 2]
