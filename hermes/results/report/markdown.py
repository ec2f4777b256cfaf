"""The report as Markdown, for a pull request or a wiki page."""

from __future__ import annotations

import html
import re
import shlex

from hermes.results.report.answer import (
    answer_sentences,
    count_sentence,
    headline,
    settings_text,
    winners,
)
from hermes.results.report.contents import Report
from hermes.results.report.front_table import front_texts
from hermes.results.report.wording import metric_label

__all__ = ["markdown_page"]

_MOST_ROWS = 25


def markdown_page(report: Report) -> str:
    """Return the whole page."""
    lines = [f"# {_escape(report.name)}", ""]
    if report.question:
        lines += [f"> {_escape(report.question)}", ""]
    lines += [f"**{_escape(headline(report))}**", ""]
    lines += [_escape(sentence) for sentence in answer_sentences(report)]
    lines += ["", "![Pareto front](pareto.png)", ""]
    lines += _other_winners(report)
    lines += _asked(report)
    lines += _front(report)
    lines += _importance(report)
    lines += _reasons(report)
    lines += ["## How to regenerate", "", "```console"]
    name = shlex.quote(re.sub(r"[^\w.-]+", "-", report.name).strip("-.") or "study")
    lines += [f"hermes sweep {name}.yaml --out runs/{name}", f"hermes report runs/{name}", "```"]
    facts = (f"{label}: {value}" for label, value in report.provenance.items())
    lines += ["", f"<sub>{' · '.join(_escape(fact) for fact in facts)}</sub>", ""]
    return "\n".join(lines)


def _asked(report: Report) -> list[str]:
    goals = (f"{direction} {_code(name)}" for name, direction in report.objectives.items())
    lines = ["- Objectives: " + ", ".join(goals)]
    if report.constraints:
        lines.append("- Constraints: " + ", ".join(_code(text) for text in report.constraints))
    return [*lines, f"- {_escape(count_sentence(report))}", ""]


def _other_winners(report: Report) -> list[str]:
    others = winners(report)[1:]
    return [
        f"- {_escape(winner.title)}: {_escape(settings_text(report, winner.number))} "
        f"(trial {winner.number})"
        for winner in others
    ]


def _front(report: Report) -> list[str]:
    if report.front.empty:
        return []
    headers, rows = front_texts(report, _MOST_ROWS)
    settings = 1 + len(report.parameters)
    rule = ["---"] * settings + ["---:"] * (len(headers) - settings)
    lines = ["## The Pareto front", "", _row(headers), "|" + "|".join(rule) + "|"]
    lines += [_row(row) for row in rows]
    left = len(report.front) - len(rows)
    return [*lines, *(["", f"... and {left} more."] if left else []), ""]


def _importance(report: Report) -> list[str]:
    if not report.importance:
        return []
    lines = ["## Which parameters matter", ""]
    for metric, shares in report.importance.items():
        names = report.parameters
        text = ", ".join(f"{names[path]} {share:.0%}" for path, share in shares.items())
        lines.append(f"- {_escape(metric_label(metric, unit=False))}: {_escape(text)}")
    return [*lines, ""]


def _reasons(report: Report) -> list[str]:
    if not report.reasons:
        return []
    lines = ["## Trials without a result", ""]
    lines += [
        f"- {reason.count} {_escape(reason.status)}: {_escape(reason.text)}"
        for reason in report.reasons[:8]
    ]
    left = sum(reason.count for reason in report.reasons[8:])
    return [*lines, *([f"- and {left} more"] if left else []), ""]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(_escape(cell) for cell in cells) + " |"


def _escape(text: str) -> str:
    """Make *text* mean only itself in Markdown and in the HTML that Markdown lets through."""
    return re.sub(r"([\\`*_\[\]|~#$!])", r"\\\1", html.escape(text, quote=False))


def _code(text: str) -> str:
    return f"`{text.replace('`', chr(39))}`"
