"""Results as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hermes.metrics import METRICS, PARTS
from hermes.scenario.scenario import SloSpec

__all__ = [
    "confirmation_text",
    "error_bars_text",
    "facts_text",
    "number_text",
    "simulation_text",
    "table_text",
]

_LATENCIES = (
    ("ttft_ms", "TTFT"),
    ("tpot_ms", "TPOT"),
    ("itl_ms", "ITL"),
    ("e2el_ms", "E2E"),
    ("queue_ms", "queue"),
)
_BUSIEST_LINKS = 5
_STATISTICS = ("mean", "p50", "p90", "p95", "p99")
_RATES = (
    "request_throughput",
    "request_goodput",
    "output_throughput",
    "total_token_throughput",
    "utilization",
    "preemptions",
    "answer_quality",
    "cost_per_hour",
    "cost_per_million_output_tokens",
    "cost_per_million_tokens",
)


def simulation_text(summary: Mapping[str, Any], slo: SloSpec) -> str:
    """Return the metrics of one simulation, for a person to read."""
    lines = [
        f"{summary['name']}: {summary['completed']} of {summary['requests']} requests completed, "
        f"{summary['rejected']} rejected, in {number_text(summary['duration_s'])} s on "
        f"{summary['devices']} devices",
        f"workload    {summary['workload']}",
        f"cost model  {summary['cost_model']}",
        *_origin_lines(summary.get("cost_provenance", {}).get("shares", {})),
        "",
        *aligned(
            [
                ["ms", *_STATISTICS],
                *(
                    [label, *(number_text(summary[f"{name}.{s}"]) for s in _STATISTICS)]
                    for name, label in _LATENCIES
                ),
            ]
        ),
        "",
        *aligned(
            [
                [name, number_text(summary[name]), METRICS[name].unit]
                for name in _RATES
                if summary[name] is not None or name != "answer_quality"
            ]
        ),
    ]
    if len(summary.get("stages", {})) > 1:
        lines += ["", *_stages_table(summary["stages"])]
    if "tiers" in summary:
        lines += ["", *_tier_lines(summary["tiers"])]
    if summary.get("links"):
        lines += ["", *_link_lines(summary["links"])]
    limits = [
        f"{name.upper().removesuffix('_MS')} <= {number_text(limit)} ms"
        for name in ("ttft_ms", "tpot_ms", "e2el_ms")
        if (limit := getattr(slo, name)) is not None
    ]
    if limits:
        met = (summary["slo_attainment"] or 0) >= slo.attainment
        verdict = "met" if met else "MISSED"
        lines += [
            "",
            f"SLO {verdict}: {summary['slo_attainment'] or 0:.1%} of requests within "
            f"{', '.join(limits)} (target {slo.attainment:.0%})",
        ]
    return "\n".join(lines)


def _origin_lines(shares: Mapping[str, float]) -> list[str]:
    """Return what the time of the devices rests on, where there is more than one answer."""
    known = [f"{share:.0%} {origin}" for origin, share in shares.items() if share >= 0.005]
    return [f"step time   {', '.join(known)}"] if len(known) > 1 else []


def _stages_table(stages: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return the mean times of a visit to each stage; parts that no stage has are left out."""
    parts = [part for part in PARTS if any(times[f"{part}_ms"] for times in stages.values())]
    return aligned(
        [
            ["mean ms of a visit", "visits", *parts],
            *(
                [
                    name,
                    number_text(times["visits"]),
                    *(number_text(times[f"{part}_ms"]) for part in parts),
                ]
                for name, times in stages.items()
            ),
        ]
    )


def _link_lines(links: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    """Return what the busiest links carried."""
    busiest = list(links.items())[:_BUSIEST_LINKS]
    header = f"busiest of {len(links)} links" if len(links) > _BUSIEST_LINKS else "link"
    return aligned(
        [
            [header, "transfers", "GB", "utilization", "stall ms"],
            *(
                [
                    name,
                    number_text(use["transfers"]),
                    number_text(use["gb"]),
                    number_text(use["utilization"]),
                    number_text(use["stall_ms"]),
                ]
                for name, use in busiest
            ),
        ]
    )


def _tier_lines(tiers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    heads = ["tier", "instances", "hit rate", "GB read", "GB written", "evictions", "GB at most"]
    rows = [
        [
            name,
            str(tier["instances"]),
            number_text(tier["hit_rate"]),
            *(number_text(tier[f"bytes_{what}"] / 1e9) for what in ("read", "written")),
            str(tier["evictions"]),
            number_text(tier["peak_bytes"] / 1e9),
        ]
        for name, tier in tiers.items()
    ]
    return list(aligned([heads, *rows]))


def error_bars_text(summary: Mapping[str, Any]) -> str:
    """Return where 8 in 10 of the simulations with wrong costs find the main metrics."""
    bars = summary["error_bars"]
    lines = [
        f"{name} {number_text(summary[name])} ({number_text(bars[name]['low'])} to"
        f" {number_text(bars[name]['high'])})"
        for name in ("ttft_ms.p50", "ttft_ms.p99", "tpot_ms.mean", "output_throughput")
        if name in bars
    ]
    shares = summary["cost_provenance"]["shares"]
    outside = shares.get("extrapolated", 0.0) + shares.get("uncalibrated", 0.0)
    note = f"; {outside:.0%} of step time was not measured on this device"
    note = note if summary["rests_on_extrapolation"] else ""
    return "with the cost model's error, 80 % of draws" + note + ":\n  " + "\n  ".join(lines)


def confirmation_text(facts: Mapping[str, Any]) -> str:
    """Return how a trial did on the real scheduler, for a person to read."""
    engines = ", ".join(dict.fromkeys(facts["engines"].values()))
    verdict = "confirmed" if facts["confirmed"] else "NOT CONFIRMED"
    chosen = ", ".join(f"{path}={value}" for path, value in facts["parameters"].items())
    lines = [
        f"trial {facts['trial']} ({facts['trial_key'][:12]}) {verdict} by {engines}, "
        f"tolerance {number_text(facts['tolerance'])}",
        chosen,
        "",
        *aligned(
            [
                ["metric", "trial", "real scheduler", "difference"],
                *(
                    [name, number_text(m["own"]), number_text(m["real"]), _apart(m)]
                    for name, m in facts["metrics"].items()
                ),
            ]
        ),
        "",
    ]
    lines += [
        f"{what} token at another time: {facts[key]['requests_that_differ']} of "
        f"{facts['requests']} requests, by {number_text(facts[key]['largest_difference_ms'])} ms "
        "at most"
        for what, key in (("first", "first_token"), ("last", "last_token"))
    ]
    if facts["reproduced"] is None:
        lines += ["", "one simulation each; the trial's row sums up several"]
    elif not facts["reproduced"]:
        lines += [
            "",
            "the trial, run again, no longer gives the metrics of its row: another Hermes",
        ]
    return "\n".join(lines)


def _apart(metric: Mapping[str, Any]) -> str:
    relative = metric["relative_difference"]
    if relative is None:
        return "undefined"
    return "none" if relative == 0 else f"{relative:.2g}"


def number_text(value: float | int | str | bool | None) -> str:
    """Return a number with the digits a reader needs; a dash where there is none."""
    if value is None:
        return "-"
    if isinstance(value, (str, bool, int)):
        return str(value)
    if abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.4g}"


def facts_text(facts: Mapping[str, Any], indent: int = 0) -> str:
    """Return nested facts as indented lines."""
    lines = []
    width = max((len(key) for key, v in facts.items() if not isinstance(v, Mapping)), default=0)
    for key, value in facts.items():
        if isinstance(value, Mapping):
            lines += [f"{' ' * indent}{key}:", facts_text(value, indent + 2)]
        elif isinstance(value, (list, tuple)):
            lines.append(f"{' ' * indent}{key}:")
            lines += [f"{' ' * (indent + 2)}- {item}" for item in value]
        else:
            lines.append(f"{' ' * indent}{key.ljust(width)}  {number_text(value)}")
    return "\n".join(lines)


def table_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows of the same keys as an aligned table."""
    if not rows:
        return "nothing"
    header = list(rows[0])
    return "\n".join(
        aligned([header, *([number_text(row[key]) for key in header] for row in rows)])
    )


def aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    """Return rows as lines, columns two spaces apart, numbers to the right."""
    table = [list(row) for row in rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    numeric = [all(_is_number(row[i]) for row in table[1:] or table) for i in range(len(table[0]))]
    return [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in table
    ]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text == "-"
    return True
