"""The Pareto front as a table: values for programs, texts for people."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hermes.evaluation import HIGH, LOW
from hermes.results.report.answer import count_sentence, headline
from hermes.results.report.confidence import bar_text, doubt_text, doubtful
from hermes.results.report.contents import Report, gather_report
from hermes.results.report.wording import metric_label, value_text
from hermes.results.schema import parameter_column

__all__ = ["front_table", "front_text", "front_texts"]

_MOST_LINES = 40
_HEADER_WIDTH = 13


def front_table(folder: str | Path) -> tuple[list[str], list[list[Any]]]:
    """Return a study's front as column names and rows of plain values, ready for JSON.

    Columns are the trial's number and key, whether it is the knee, the parameters that vary
    (full paths), the metrics a reader wants first, the ends of their error bars, and what the time
    of the devices rests on. Rows stand best first by the first
    objective.
    """
    report = gather_report(folder)
    metrics = [*report.objectives, *report.essentials]
    metrics += [name + end for name in metrics for end in (LOW, HIGH) if name + end in report.front]
    metrics += [name for name in map(str, report.front) if name.startswith("cost_share.")]
    rows = []
    for row in report.front.to_dict("records"):
        values = [row[parameter_column(path)] for path in report.parameters]
        values += [row[name] for name in metrics]
        number = int(row["number"])
        rows.append([number, row["trial_key"], number == report.knee, *map(_plain, values)])
    return ["number", "trial_key", "knee", *report.parameters, *metrics], rows


def front_texts(report: Report, limit: int | None = None) -> tuple[list[str], list[list[str]]]:
    """Return the front as headers and texts for people, without control characters.

    Args:
        report: What `gather_report` returned.
        limit: At most so many rows.
    """
    metrics = [*report.objectives, *report.essentials]
    headers = ["Trial", *report.parameters.values(), *map(metric_label, metrics)]
    flagged = bool(doubtful(report))
    headers += ["Not known on the device"] if flagged else []
    rows = []
    shown = report.front.head(len(report.front) if limit is None else limit)
    for each in shown.to_dict("records"):
        row = {str(name): value for name, value in each.items()}
        number = int(row["number"])
        is_knee = number == report.knee and len(report.objectives) > 1
        rows.append(
            [
                f"{number} (knee)" if is_knee else str(number),
                *(value_text(row[parameter_column(path)]) for path in report.parameters),
                *(bar_text(row, name, unit=False) for name in metrics),
                *([doubt_text(row) or "-"] if flagged else []),
            ]
        )
    return headers, rows


def front_text(folder: str | Path) -> str:
    """Return a study's answer and front as lines for a terminal."""
    report = gather_report(folder)
    lines = [headline(report), count_sentence(report)]
    if not report.front.empty:
        headers, rows = front_texts(report, _MOST_LINES)
        lines += ["", *_aligned(headers, rows, 1 + len(report.parameters))]
        left = len(report.front) - len(rows)
        lines += [f"... and {left} more"] if left else []
    return "\n".join(lines).replace("\N{NO-BREAK SPACE}", " ")


def _aligned(headers: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Return lines of columns: headers broken over several, the first *left* columns ragged."""
    heads = [_broken(header) for header in headers]
    tallest = max(map(len, heads))
    heads = [[""] * (tallest - len(head)) + head for head in heads]
    lines = [*zip(*heads, strict=True), *rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(headers))]
    return [
        "  ".join(
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def _broken(header: str) -> list[str]:
    lines = [""]
    for piece in re.findall(r"[^\s_.]+[\s_.]*|[\s_.]+", header):
        if lines[-1] and len(lines[-1] + piece.rstrip()) > _HEADER_WIDTH:
            lines.append("")
        lines[-1] += piece
    return [line.strip() for line in lines]


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
