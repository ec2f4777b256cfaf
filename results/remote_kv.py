"""The report of the study `remote-kv`: its figures beside those of the paper's authors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hermes.results import read_trials

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["write_remote_kv"]

STORAGE = {
    "A-per-engine": "A: each engine its own",
    "B-per-node": "B: each node",
    "C-per-rack": "C: each rack",
    "D-global-1GB/s": "D: all, over 1 GB/s",
    "D-global-128GB/s": "D: all, over 128 GB/s",
    "E-recompute": "E: none, recompute",
}
CASES = [(tokens, home) for tokens in ("4096", "24576") for home in ("uniform", "hot")]


class Theirs(NamedTuple):
    """What the authors found for a case: requests completed, and percentiles of their seconds."""

    completed: int
    percentiles: tuple[float, float, float]


AUTHORS = {
    "A-per-engine": (
        Theirs(1621, (1.62, 6.28, 7.42)),
        Theirs(833, (3.05, 5.98, 8.34)),
        Theirs(1298, (2.02, 4.41, 8.67)),
        Theirs(494, (4.01, 6.80, 8.39)),
    ),
    "B-per-node": (
        Theirs(1612, (1.64, 6.29, 7.23)),
        Theirs(1025, (2.64, 5.21, 8.51)),
        Theirs(1268, (2.23, 4.47, 8.57)),
        Theirs(600, (4.01, 6.73, 8.22)),
    ),
    "C-per-rack": (
        Theirs(1529, (1.95, 6.60, 7.44)),
        Theirs(1369, (2.07, 6.12, 8.31)),
        Theirs(881, (4.13, 5.52, 9.52)),
        Theirs(770, (4.45, 6.13, 8.66)),
    ),
    "D-global-1GB/s": (
        Theirs(1399, (2.51, 7.11, 7.92)),
        Theirs(1369, (2.50, 7.06, 7.83)),
        Theirs(367, (7.28, 8.22, 9.43)),
        Theirs(370, (7.29, 8.28, 9.08)),
    ),
    "E-recompute": (
        Theirs(1347, (2.07, 4.55, 8.85)),
        Theirs(1324, (2.05, 4.43, 8.70)),
        Theirs(332, (5.75, 7.67, 8.54)),
        Theirs(337, (5.77, 7.61, 8.75)),
    ),
}
"""Requests completed within the window, and the 50th, 90th and 99th percentile of their end-to-end
latency in seconds, by case, as the authors simulated them:
MIST-Simulator/SC_Paper_Charts, results/reference/T4, commit 2a4e41d7 (arXiv 2504.09775)."""

_HEAD = """# remote-kv

> Where should 4,096 or 24,576 tokens of stored context live, for 128 engines of Llama-3.1-70B \
(fp8, two H100 each, 4 racks) under 240 requests/s for 10 s?

**Most requests completed, with bandwidth shared: {answer}**

![Requests completed while others still arrived](completed.png)

## With every link to itself, as the paper has it

Requests of {requests:,} completed within the 10 s, ours / *the authors'*:

{free}

And the 50th / 90th / 99th percentile of their end-to-end latency, in seconds: of the survivors
of the window, so a place that completes few of them can have low percentiles.

{latencies}

{agreement}

A and B are best where all contexts are alike popular; where few are hot, a store of one's own turns
them into busy engines, and of the places the authors compare C completes the most at 24,576 tokens.
D over 1 GB/s and recomputing (E) collapse there; over 128 GB/s, D is ahead of C. The level is not
theirs: our step times come of a roofline fitted to measurements, theirs of one at a flat 75 %
efficiency without overheads, so that ours complete fewer, most of all where contexts are computed
again.

## With bandwidth that is shared

The same, with transfers that share their links and media: requests completed within the 10 s, and
the time until the last of all is done.

{shared}

What the paper leaves out decides. A rack's store of 2 GB/s is asked for 60 contexts a second, of
640 MiB each at 4,096 tokens: {demand} times what it gives. Only stores near the engines keep up: A
is what it was, and B loses where contexts are long. Recomputing, which no store holds up, is ahead
of every store beyond the node.

## How to regenerate

```console
hermes sweep remote-kv --out runs/remote-kv
python results/regenerate.py
```

<sub>Hermes {version} · Seed 1, the same requests in every trial · {trials} trials, \
{seconds:.0f} s of simulation (the authors' 20 took about 22 minutes) · \
Cost model: {cost_model}</sub>
"""


def write_remote_kv(folder: Path, target: Path) -> None:
    """Write the report and the picture of a finished study into a folder."""
    trials = read_trials(folder)
    trials = trials.set_index(
        [f"param.{name}" for name in ("storage", "context_tokens", "popularity")]
        + ["param.topology.contention"]
    )
    first = trials.iloc[0]
    text = _HEAD.format(
        answer=_answer(trials),
        agreement=_agreement(trials),
        requests=int(first["requests"]),
        free=_table(trials, _both_completed),
        latencies=_table(trials, _both_percentiles),
        shared=_table(trials, _drained),
        demand=round(60 * 4096 * 163_840 / 2e9),
        version=first["hermes_version"],
        trials=len(trials),
        seconds=trials["trial_seconds"].sum(),
        cost_model=first["cost_model"],
    )
    target.mkdir(exist_ok=True)
    (target / "report.md").write_text(text, encoding="utf-8")
    _draw(trials, target / "completed.png")


def _completed(trials: pd.DataFrame, storage: str, case: tuple[str, str], shared: bool) -> int:
    return int(trials.loc[(storage, *case, shared)]["completed_in_window"])


def _answer(trials: pd.DataFrame) -> str:
    """Return the best place of each case, by requests completed with bandwidth shared."""
    best = []
    for tokens, home in CASES:
        done = {name: _completed(trials, name, (tokens, home), True) for name in STORAGE}
        first = max(done, key=lambda name: done[name])
        best.append(f"{STORAGE[first]} ({int(tokens):,} tokens, {home}: {done[first]:,})")
    return "; ".join(best)


def _agreement(trials: pd.DataFrame) -> str:
    """Say how many pairs of places stand in the authors' order, those apart by 2 % or more."""
    agreed, apart, against = 0, 0, []
    for place, case in enumerate(CASES):
        for one, other in combinations(AUTHORS, 2):
            theirs = AUTHORS[one][place].completed, AUTHORS[other][place].completed
            if abs(theirs[0] - theirs[1]) < 0.02 * max(theirs):
                continue
            ours = [_completed(trials, name, case, False) for name in (one, other)]
            apart += 1
            if (ours[0] > ours[1]) == (theirs[0] > theirs[1]):
                agreed += 1
            else:
                against.append(f"{one[0]} and {other[0]} at {int(case[0]):,} tokens, {case[1]}")
    text = f"{agreed} of {apart} pairs of places that are 2 % or more apart stand in their order"
    return text + (f" (not: {'; '.join(against)})." if against else ".")


def _table(trials: pd.DataFrame, cell: Callable[[pd.DataFrame, str, int], str]) -> str:
    heads = [f"{int(tokens):,} tokens, {home}" for tokens, home in CASES]
    rows = [["KV stored by", *heads], ["---", *("---:" for _ in heads)]]
    for storage, name in STORAGE.items():
        rows.append([name, *(cell(trials, storage, place) for place in range(len(CASES)))])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _both_completed(trials: pd.DataFrame, storage: str, place: int) -> str:
    ours = f"{_completed(trials, storage, CASES[place], False):,}"
    return f"{ours} / *{AUTHORS[storage][place].completed:,}*" if storage in AUTHORS else ours


def _both_percentiles(trials: pd.DataFrame, storage: str, place: int) -> str:
    trial = trials.loc[(storage, *CASES[place], False)]
    ours = [trial[f"e2el_in_window_ms.{part}"] / 1000 for part in ("p50", "p90", "p99")]
    text = " / ".join(f"{seconds:.1f}" for seconds in ours)
    if storage not in AUTHORS:
        return text
    theirs = " / ".join(f"{seconds:.1f}" for seconds in AUTHORS[storage][place].percentiles)
    return f"{text}, *{theirs}*"


def _drained(trials: pd.DataFrame, storage: str, place: int) -> str:
    done = _completed(trials, storage, CASES[place], True)
    seconds = trials.loc[(storage, *CASES[place], True)]["duration_s"]
    return f"{done:,}; {seconds:,.0f} s"


def _draw(trials: pd.DataFrame, path: Path) -> None:
    """Draw the completions: a panel a case, a bar without and one with contention each."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.6), dpi=130, facecolor="white", layout="constrained")
    panels: Iterable[Any] = figure.subplots(1, len(CASES), sharey=True)
    for panel, (tokens, home) in zip(panels, CASES, strict=True):
        for shift, contention, colour in ((-0.2, False, "#56b4e9"), (0.2, True, "#0072b2")):
            values = [
                trials.loc[(storage, tokens, home, contention)]["completed_in_window"]
                for storage in STORAGE
            ]
            places = [place + shift for place in range(len(STORAGE))]
            label = "bandwidth shared" if contention else "every link to itself"
            panel.barh(places, values, height=0.38, color=colour, label=label)
        for place, storage in enumerate(STORAGE):
            if storage in AUTHORS:
                theirs = AUTHORS[storage][CASES.index((tokens, home))].completed
                label = "the authors', every link to itself" if place == 0 else None
                panel.plot([theirs], [place - 0.2], "kd", markersize=4, label=label)
        panel.set_title(f"{int(tokens):,} tokens, {home}", fontsize=10)
        panel.set_yticks(range(len(STORAGE)), list(STORAGE.values()), fontsize=9)
        panel.spines[["top", "right"]].set_visible(False)
    axes = figure.axes
    axes[0].invert_yaxis()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle("Requests completed while others still arrived (10 s at 240/s)", fontsize=12)
    figure.savefig(path, metadata={"Software": "Hermes"})
