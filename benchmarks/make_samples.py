"""Make the workload samples that ship with Hermes: `python benchmarks/make_samples.py`.

The requests are synthetic. They are fitted to what is published about Azure's 2023 traces of LLM
inference (Patel et al., Splitwise, ISCA 2024): means, medians, 99th percentiles and request rates;
no row of those traces is copied. Each column is the quantile function of its distribution,
evaluated at evenly spread ranks and shuffled, so that a sample of 2,000 meets the figures closely.
Only `math` and the integers of `random.Random` are used, so every machine writes the same bytes.
"""

from __future__ import annotations

import math
import random
import sys
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

REQUESTS = 2_000
FOLDER = Path(__file__).resolve().parent.parent / "hermes" / "workload" / "samples"


@dataclass(frozen=True, slots=True)
class Lengths:
    """Published figures of one column; its lower quartile and its ends are our choice."""

    smallest: int
    quartile: int
    median: int
    p99: int
    largest: int
    mean: float
    free_rank: float
    """Rank of the knot that is moved until the mean is right."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample: its columns and its rate."""

    prompt: Lengths
    output: Lengths
    rate_per_s: float


SAMPLES = {
    "chat": Sample(
        prompt=Lengths(16, 400, 1020, 4142, 8192, 1155, 0.85),
        output=Lengths(8, 40, 129, 601, 1000, 211, 0.75),
        rate_per_s=5.5,
    ),
    "code": Sample(
        prompt=Lengths(16, 580, 1469, 7436, 8192, 2048, 0.8),
        output=Lengths(5, 9, 13, 252, 1024, 28, 0.9),
        rate_per_s=2.6,
    ),
}


def ranks() -> list[float]:
    """Return evenly spread ranks in (0, 1)."""
    return [(i + 0.5) / REQUESTS for i in range(REQUESTS)]


def quantile(knots: list[tuple[float, float]], rank: float) -> float:
    """Interpolate between (rank, value) knots, linearly in the logarithm of the value."""
    place = min(bisect_right(knots, (rank, math.inf)), len(knots) - 1)
    (low, start), (high, end) = knots[place - 1], knots[place]
    share = (rank - low) / (high - low)
    return math.exp(math.log(start) * (1 - share) + math.log(end) * share)


def fitted(lengths: Lengths) -> list[int]:
    """Return token counts in rising order, with the published median, p99 and mean."""

    def values(free: float) -> list[int]:
        knots = [
            (0.0, float(lengths.smallest)),
            (0.25, float(lengths.quartile)),
            (0.5, float(lengths.median)),
            (lengths.free_rank, free),
            (0.99, float(lengths.p99)),
            (1.0, float(lengths.largest)),
        ]
        return [round(quantile(knots, rank)) for rank in ranks()]

    low, high = float(lengths.median), float(lengths.p99)
    for _ in range(60):
        middle = (low + high) / 2
        if sum(values(middle)) < lengths.mean * REQUESTS:
            low = middle
        else:
            high = middle
    return values(high)


def gaps_ns(rate_per_s: float) -> list[int]:
    """Return gaps of a Poisson process in nanoseconds, in rising order."""
    return [round(-math.log1p(-rank) / rate_per_s * 1e9) for rank in ranks()]


def shuffled(values: list[int], rng: random.Random) -> list[int]:
    """Shuffle by random keys; `random()` is the one method that never changes its draws."""
    keys = [(rng.random(), i) for i in range(len(values))]
    return [values[i] for _, i in sorted(keys)]


def text(sample: Sample, seed: int) -> str:
    """Return the CSV of a sample."""
    rng = random.Random(seed)
    gaps = shuffled(gaps_ns(sample.rate_per_s), rng)
    prompts = shuffled(fitted(sample.prompt), rng)
    outputs = shuffled(fitted(sample.output), rng)
    lines, now = ["arrival_ns,prompt_tokens,output_tokens"], 0
    for gap, prompt, output in zip(gaps, prompts, outputs, strict=True):
        now += gap
        lines.append(f"{now},{prompt},{output}")
    return "\n".join(lines) + "\n"


def main(write: Callable[[str], object] = sys.stdout.write) -> None:
    """Write all samples."""
    for seed, (name, sample) in enumerate(SAMPLES.items()):
        path = FOLDER / f"{name}.csv"
        path.write_text(text(sample, seed), encoding="utf-8", newline="\n")
        write(f"{path.name}: {REQUESTS} requests\n")


if __name__ == "__main__":
    main()
