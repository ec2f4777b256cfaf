"""How a report words names and values: short, with units, safe to show anywhere.

A study's names come from files that others may have written. Here they only become short and
lose control characters; each output escapes them for its own language.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from hermes.evaluation import CAPACITY_METRICS
from hermes.metrics.catalog import METRICS

__all__ = [
    "metric_label",
    "metric_text",
    "metric_unit",
    "number_text",
    "plain",
    "setting_text",
    "short_names",
    "value_text",
]

_LONGEST = 60
_MISSING = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"

_LABELS = {
    "ttft_ms": "TTFT",
    "tpot_ms": "TPOT",
    "itl_ms": "ITL",
    "e2el_ms": "E2E latency",
    "request_throughput": "Throughput",
    "total_token_throughput": "Token throughput",
    "request_goodput": "Goodput",
    "slo_attainment": "SLO attainment",
    "cost_per_million_output_tokens": "Cost per 1M output tokens",
    "cost_per_million_tokens": "Cost per 1M tokens",
    "tokens_per_s_per_user": "Speed per user",
}
_SHARES = frozenset({"slo_attainment", "utilization"})

# How people write a setting down when space is short.
_SETTINGS: dict[str, Callable[[str], str]] = {
    "device": lambda text: text,
    "model": lambda text: text,
    "batching": lambda text: text,
    "tensor_parallel_size": lambda text: f"TP {text}",
    "pipeline_parallel_size": lambda text: f"PP {text}",
    "replicas": lambda text: "1 replica" if text == "1" else f"{text} replicas",
    "max_num_seqs": lambda text: f"{text} seqs",
    "max_num_batched_tokens": lambda text: f"{text} tokens/step",
    "rate_per_s": lambda text: f"{text} req/s",
}


def plain(text: object, longest: int = _LONGEST) -> str:
    """Return *text* on one line, without control characters, cut to a readable length."""
    kept = "".join(char if char.isprintable() else " " for char in str(text))
    line = " ".join(kept.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """Return the shortest tails of dotted *paths* that still differ from one another."""
    names = {}
    for path in paths:
        parts = path.split(".")
        for count in range(1, len(parts) + 1):
            tail = parts[-count:]
            rivals = [other for other in paths if other.split(".")[-count:] == tail]
            if len(rivals) == 1:
                break
        names[path] = plain(".".join(tail))
    return names


def metric_unit(name: str) -> str:
    """Return the unit a metric's values are shown in, or nothing."""
    if name in _SHARES or name.startswith("cost_share."):
        return "%"
    known = METRICS.get(name) or CAPACITY_METRICS.get(name)
    unit = known.unit if known is not None else ""
    return unit.replace("USD", "$").removesuffix("/h")


def metric_label(name: str, unit: bool = True) -> str:
    """Return a metric's name for people, by default with its unit in brackets."""
    base, _, part = name.partition(".")
    words = base.removesuffix("_ms").removesuffix("_s").replace("_", " ")
    label = f"{_LABELS.get(base) or plain(words.capitalize())} {plain(part)}".rstrip()
    shown = metric_unit(name) if unit else ""
    return f"{label} ({shown})" if shown else label


def number_text(value: float) -> str:
    """Return three significant digits, or all digits before the point."""
    if value is None or math.isnan(value):
        return _MISSING
    if math.isinf(value):
        return "∞" if value > 0 else _MINUS + "∞"
    size = abs(value)
    if size >= 100 or (value == round(value) and size < 1e15):
        text = f"{value:,.0f}"
    elif size >= 0.01:
        text = f"{value:.{2 if size < 10 else 1}f}" if size >= 1 else f"{value:.3f}"
    else:
        text = f"{value:.3g}"
    return text.replace("-", _MINUS, 1) if text.startswith("-") else text


def metric_text(name: str, value: float, unit: bool = True) -> str:
    """Return a metric's value for people, by default with its unit."""
    if value is None or math.isnan(value):
        return _MISSING
    shown = metric_unit(name)
    if shown == "$":
        text = f"{value:,.2f}" if abs(value) >= 0.1 else number_text(value)
        return f"${text}" if unit else text
    if shown == "%":
        return f"{100 * value:.1f}" + (" %" if unit else "")
    text = number_text(value)
    return f"{text} {shown}" if unit and shown else text


def value_text(value: object) -> str:
    """Return a parameter's value, short."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return _MISSING
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:.4g}"
    return plain(value)


def setting_text(name: str, value: object) -> str:
    """Return a parameter and its value as one would jot them down: `TP 4`, `2 replicas`."""
    text = value_text(value)
    known = _SETTINGS.get(name.rpartition(".")[2])
    if known is None:
        return f"{name} {text}"
    owner = name.rpartition(".")[0]
    return f"{owner}: {known(text)}" if owner else known(text)
