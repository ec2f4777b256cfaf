"""The report as one HTML file that works offline and asks nobody for anything.

The page runs two scripts, Plotly and `page.js`, and a content security policy names them by
their SHA-256, so nothing else can run, whatever a study's texts contain. Texts are escaped
where they enter the page; the data block is JSON in which `<` cannot occur.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files
from typing import Any

from hermes.results.report.answer import (
    answer_sentences,
    count_sentence,
    headline,
    outcome_names,
    settings_text,
    winners,
)
from hermes.results.report.confidence import bar_text, doubt_text, doubtful
from hermes.results.report.contents import Report
from hermes.results.report.page_data import PageData, page_data
from hermes.results.report.wording import metric_label, value_text
from hermes.results.schema import parameter_column

__all__ = ["html_page"]

_MOST_ROWS = 200
_MOST_REASONS = 12


def html_page(report: Report) -> str:
    """Return the whole page."""
    from plotly.offline import get_plotlyjs

    assets = files("hermes.results.report")
    style = assets.joinpath("page.css").read_text("utf-8")
    script = assets.joinpath("page.js").read_text("utf-8")
    plotly = get_plotlyjs()
    data = page_data(report)
    policy = (
        f"default-src 'none'; script-src {_digest(plotly)} {_digest(script)}; "
        "style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    sections = [
        _top(report),
        _charts(data),
        _front(report),
        _importance(report),
        _trials(report),
        _footer(report),
    ]
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{escape(report.name)}: {escape(headline(report))}</title>",
            f"<style>{style}</style>\n</head>\n<body>\n<main>",
            *filter(None, sections),
            f'</main>\n<script type="application/json" id="data">{data.json()}</script>',
            f"<script>{plotly}</script>\n<script>{script}</script>\n</body>\n</html>\n",
        ]
    )


def _digest(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _top(report: Report) -> str:
    lead = " ".join(answer_sentences(report))
    question = f'<p class="question">{escape(report.question)}</p>' if report.question else ""
    cards = "".join(
        _card(report, winner.title, winner.number, at == 0)
        for at, winner in enumerate(winners(report))
    )
    return (
        f'<header><p class="kicker">Hermes study · {escape(report.name)}</p>{question}'
        f'<h1>{escape(headline(report))}</h1><p class="lead">{escape(lead)}</p></header>'
        f'<section class="cards">{cards}</section>'
    )


def _card(report: Report, title: str, number: int, first: bool) -> str:
    row = report.trial(number)
    main = set(outcome_names(report))
    metrics = dict.fromkeys([*outcome_names(report), *report.essentials])
    items = "".join(
        f"<dt{_main(name in main)}>{escape(metric_label(name, unit=False))}</dt>"
        f"<dd{_main(name in main)}>{escape(bar_text(row, name))}</dd>"
        for name in metrics
    )
    return (
        f'<article class="card{" first" if first else ""}"><h3>{escape(title)}</h3>'
        f'<p class="what">{escape(settings_text(report, number))}</p><dl>{items}</dl>'
        f'<p class="trial">Trial {number}{_doubt(row)}</p></article>'
    )


def _doubt(row: Mapping[str, Any]) -> str:
    doubt = doubt_text(row)
    return f' <span class="tag doubt">{escape(doubt)}</span>' if doubt else ""


def _main(yes: bool) -> str:
    return ' class="main"' if yes else ""


def _charts(data: PageData) -> str:
    if not data.columns:
        return ""
    numbers = [(one["key"], one["label"]) for one in data.columns if one["kind"] == "number"]
    groups = [(one["key"], one["label"]) for one in data.columns if one["group"]]
    controls = (
        _select("axis-x", "Across", numbers, data.x)
        + _select("axis-y", "Up", numbers, data.y)
        + _select("colour", "Colour", [*groups, ("", "none")], data.colour or "")
    )
    sampled = (
        f" {len(data.number):,} of {data.completed:,} completed trials are drawn, all of the "
        "front among them."
        if len(data.number) < data.completed
        else ""
    )
    bars = (
        " Bars on the front hold 80 % of what wrong costs would give."
        if any("low" in one for one in data.columns)
        else ""
    )
    return (
        "<section><h2>The trade-off</h2>"
        '<p class="note">Each mark is a completed trial; ringed marks form the Pareto front, '
        "crosses break a constraint. Hover for the full configuration, drag to zoom, double-click "
        f"to zoom out, click the legend to hide a group.{sampled}{bars}</p>"
        f'<div class="controls">{controls}</div><div id="scatter"></div>'
        "<noscript><p>The charts need JavaScript; the tables do not.</p></noscript></section>"
        "<section><h2>Every configuration at a glance</h2>"
        f'<p class="note">{_parallel_note(data)}</p>'
        '<svg id="parallel" role="img" aria-label="Parallel coordinates of the trials"></svg>'
        '<p id="told"></p></section>'
    )


def _parallel_note(data: PageData) -> str:
    if not any(data.ok):
        return "One line a trial, through its parameters to its objectives."
    return (
        "One line a trial that keeps the constraints, through its parameters to its objectives. "
        f"Bold lines are on the front, the boldest is the {data.kneeName}."
    )


def _select(name: str, label: str, options: Iterable[tuple[str, str]], chosen: str) -> str:
    items = "".join(
        f'<option value="{escape(key)}"{" selected" if key == chosen else ""}>'
        f"{escape(text)}</option>"
        for key, text in options
    )
    return f'<label>{label} <select id="{name}">{items}</select></label>'


def _front(report: Report) -> str:
    if report.front.empty:
        return ""
    metrics = [*report.objectives, *report.essentials]
    heads = [("Trial", True)]
    heads += [(name, False) for name in report.parameters.values()]
    heads += [(metric_label(name), True) for name in metrics]
    head = "".join(
        f'<th scope="col"{_number(number)}><button type="button">{_breakable(text)}</button></th>'
        for text, number in heads
    )
    rows = report.front.head(_MOST_ROWS).to_dict("records")
    plain = [{str(name): value for name, value in row.items()} for row in rows]
    body = "".join(_front_row(report, row, metrics) for row in plain)
    cut = f" The first {_MOST_ROWS} are listed." if len(report.front) > _MOST_ROWS else ""
    alone = len(report.objectives) == 1 or len(report.front) == 1
    title = "The Pareto front: " + f"{len(report.front)} configurations nothing beats"
    note = "Each is better in some objective than every other one. Click a heading to sort."
    doubts = (
        " Those marked rest on costs that were extrapolated, or fitted on another device."
        if doubtful(report)
        else ""
    )
    return (
        f"<section><h2>{'The best configuration' if alone else title}</h2>"
        f'<p class="note">{"" if alone else note}{cut}{doubts}</p>'
        f'<div class="scroll"><table class="sortable"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div></section>"
    )


def _front_row(report: Report, row: Mapping[str, Any], metrics: list[str]) -> str:
    number = int(row["number"])
    knee = number == report.knee and len(report.objectives) > 1
    tag = '<span class="tag">knee</span>' if knee else ""
    tag += _doubt(row)
    cells = [f'<td class="number" data-value="{number}">{number}{tag}</td>']
    for path in report.parameters:
        value = row[parameter_column(path)]
        cells.append(f'<td data-value="{escape(str(value))}">{escape(value_text(value))}</td>')
    for name in metrics:
        text = escape(bar_text(row, name, unit=False))
        cells.append(f'<td class="number" data-value="{row[name]!r}">{text}</td>')
    kind = ' class="knee"' if knee else ""
    return f"<tr{kind}>{''.join(cells)}</tr>"


def _breakable(text: str) -> str:
    """Escape a heading that may break after an underscore or a dot."""
    return escape(text).replace("_", "_<wbr>").replace(".", ".<wbr>")


def _number(yes: bool) -> str:
    return ' class="number"' if yes else ""


def _importance(report: Report) -> str:
    if not report.importance:
        return ""
    blocks = []
    for metric, shares in report.importance.items():
        bars = "".join(
            f'<div class="bar"><span>{escape(report.parameters[path])}</span>'
            f'<svg viewBox="0 0 100 12" preserveAspectRatio="none" aria-hidden="true">'
            f'<rect width="{100 * share:.1f}" height="12" fill="#0b5c8f"/></svg>'
            f"<span>{share:.0%}</span></div>"
            for path, share in shares.items()
        )
        blocks.append(f"<div><h3>{escape(metric_label(metric, unit=False))}</h3>{bars}</div>")
    return (
        "<section><h2>Which parameters matter</h2>"
        '<p class="note">How much each parameter sets the best tenth of the completed trials '
        "apart from the rest (PED-ANOVA); shares of the whole effect.</p>"
        f'<div class="columns">{"".join(blocks)}</div></section>'
    )


def _trials(report: Report) -> str:
    constraints = ", ".join(f"<code>{escape(text)}</code>" for text in report.constraints)
    asked = ", ".join(
        f"{direction} <code>{escape(name)}</code>" for name, direction in report.objectives.items()
    )
    asked = asked[0].upper() + asked[1:] + (f" subject to {constraints}" if constraints else "")
    rows = "".join(
        f'<tr><td class="number">{reason.count}</td><td>{escape(reason.status)}</td>'
        f"<td>{escape(reason.text)}</td></tr>"
        for reason in report.reasons[:_MOST_REASONS]
    )
    left = sum(reason.count for reason in report.reasons[_MOST_REASONS:])
    if left:
        rows += f'<tr><td class="number">{left}</td><td></td><td>for other reasons</td></tr>'
    table = (
        '<div class="scroll"><table><thead><tr><th class="number">Trials</th><th>Status</th>'
        f"<th>Reason</th></tr></thead><tbody>{rows}</tbody></table></div>"
        if rows
        else ""
    )
    fixed = "".join(
        f"<div><dt>{escape(path)}</dt><dd>{escape(value_text(value))}</dd></div>"
        for path, value in report.fixed.items()
    )
    same = f'<p class="note">The same in every trial: <dl>{fixed}</dl></p>' if fixed else ""
    return (
        f'<section><h2>What was tried</h2><p class="note">{asked}. '
        f"{escape(count_sentence(report))}</p>{same}{table}</section>"
    )


def _footer(report: Report) -> str:
    facts = "".join(
        f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>"
        for label, value in report.provenance.items()
    )
    return f"<footer><dl>{facts}</dl></footer>"
