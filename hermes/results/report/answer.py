"""The answer to a study's question, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hermes.results.report.confidence import bar_text, doubt_sentence
from hermes.results.report.contents import Report
from hermes.results.report.wording import metric_label, setting_text

__all__ = [
    "Winner",
    "answer_sentences",
    "count_sentence",
    "headline",
    "outcome_names",
    "settings_text",
    "winners",
]


_NO_BREAK = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True, slots=True)
class Winner:
    """A trial worth a card of its own, and what it is best at."""

    title: str
    number: int


def settings_text(report: Report, number: int) -> str:
    """Return a trial's parameters as one line; it breaks between parameters only."""
    settings = report.settings(number)
    names = report.parameters
    words = [
        setting_text(names[path], value).replace(" ", _NO_BREAK) for path, value in settings.items()
    ]
    return ", ".join(words) or "the only configuration"


def winners(report: Report) -> list[Winner]:
    """Return the trials to show first: the best in each objective, and the knee.

    Limits turn a trade-off into a question with an answer: what is best in the first objective
    within them. Without limits the knee stands first.
    """
    if report.knee is None:
        miss = report.nearest_miss
        return [] if miss is None else [Winner("Nearest miss", miss)]
    chosen = [Winner(_superlative(name, way), report.best[name])
              for name, way in report.objectives.items()]  # fmt: skip
    if len(report.objectives) > 1:
        place = 1 if report.constraints else 0
        chosen.insert(place, Winner("Best trade-off (knee)", report.knee))
    merged: dict[int, list[str]] = {}
    for winner in chosen:
        merged.setdefault(winner.number, []).append(winner.title)
    return [Winner(" · ".join(titles), number) for number, titles in merged.items()]


def headline(report: Report) -> str:
    """Return the answer as a title."""
    chosen = winners(report)
    if report.knee is None or not chosen:
        completed = report.counts["completed"]
        return (
            "No configuration tried meets every constraint"
            if completed
            else "No trial completed, so there is no answer yet"
        )
    title = chosen[0].title.partition(" (")[0].partition(" · ")[0]
    within = " within the limits" if report.constraints and len(report.objectives) > 1 else ""
    return f"{title}{within}: {settings_text(report, chosen[0].number)}"


def answer_sentences(report: Report) -> list[str]:
    """Return the sentences below the title: what the chosen configuration gives, and where."""
    chosen = winners(report)
    if not chosen:
        return ["Every trial failed or could not exist; the reasons are listed below."]
    first = chosen[0]
    gives = outcome_text(report.trial(first.number), report)
    if report.knee is None:
        settings = settings_text(report, first.number)
        return [f"The nearest miss is trial {first.number} ({settings}): {gives}."]
    size = len(report.front)
    doubt = [text] if (text := doubt_sentence(report, first.number)) else []
    if len(report.objectives) == 1:
        rivals = "that meet every constraint" if report.constraints else "tried"
        best = f"It is the best of {report.feasible} configurations {rivals}."
        return [f"{gives}.", best, *doubt]
    place = (
        "No other configuration tried is better in any objective."
        if size == 1
        else f"It is {_standing(report, first)} the Pareto front, the {size} configurations that "
        "no other one tried beats."
    )
    return [f"{gives}.", place, *doubt]


def _standing(report: Report, winner: Winner) -> str:
    return "the knee of" if winner.number == report.knee else "one end of"


def outcome_text(row: Mapping[str, Any], report: Report) -> str:
    """Return a trial's objectives and constrained metrics as words."""
    names = outcome_names(report)
    texts = [f"{metric_label(name, unit=False)} {bar_text(row, name)}" for name in names]
    return ", ".join(texts)


def outcome_names(report: Report) -> list[str]:
    """Return the metrics the study is about: its objectives and what it constrains."""
    limited = [metric for text in report.constraints if (metric := text.split()[0])]
    return list(
        dict.fromkeys([*report.objectives, *(m for m in limited if m in report.essentials)])
    )


def count_sentence(report: Report) -> str:
    """Return how many trials there were and what became of them."""
    counts = report.counts
    told = {
        "stopped early": counts.get("pruned", 0),
        "could not exist": counts["infeasible"],
        "failed": counts["failed"],
        "ran out of time": counts["timeout"],
    }
    parts = [f"{counts['completed']} completed"]
    if report.constraints and counts["completed"]:
        parts.append(f"{report.feasible} of them within every constraint")
    parts += [f"{count} {what}" for what, count in told.items() if count]
    return f"{len(report.trials)} trials: " + ", ".join(parts) + "."


def _superlative(metric: str, direction: str) -> str:
    if metric.startswith("cost") and direction == "minimize":
        return "Cheapest"
    extreme = "Lowest" if direction == "minimize" else "Highest"
    label = metric_label(metric, unit=False)
    return f"{extreme} {label if label[:2].isupper() else label[0].lower() + label[1:]}"
