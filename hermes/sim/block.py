"""A run of steps with the same batch, as one stretch of time that can be cut short."""

from __future__ import annotations

from math import isqrt
from typing import NamedTuple

from hermes.costs.step import StepCost

__all__ = ["Run", "decode_runs", "steps_reaching", "total"]


class Run(NamedTuple):
    """`steps` steps that take `first`, `first + delta`, `first + 2 * delta`, ... ticks."""

    steps: int
    first: int
    delta: int

    def ticks(self, steps: int) -> int:
        """Return how long the first `steps` of them take."""
        return steps * self.first + self.delta * (steps * (steps - 1) // 2)

    def steps_reaching(self, ticks: int) -> int:
        """Return the fewest steps that take at least `ticks`."""
        if self.delta == 0:
            return -(-ticks // self.first)
        # delta/2 * s^2 + (first - delta/2) * s >= ticks, in integers
        slope = 2 * self.first - self.delta
        steps = (isqrt(slope * slope + 8 * self.delta * ticks) - slope) // (2 * self.delta)
        while self.ticks(steps) < ticks:
            steps += 1
        return steps


def decode_runs(costs: StepCost, sequences: int, context_tokens: int, steps: int) -> list[Run]:
    """Return `steps` decode steps of a fixed batch as runs, one for each cost segment crossed."""
    limit, base, slope = costs.decode_segment(sequences, context_tokens)
    if context_tokens + (steps - 1) * sequences < limit:
        return [Run(steps, base + slope * context_tokens, slope * sequences)]
    runs: list[Run] = []
    while steps > 0:
        limit, base, slope = costs.decode_segment(sequences, context_tokens)
        inside = min(steps, -((context_tokens - limit) // sequences))
        runs.append(Run(inside, base + slope * context_tokens, slope * sequences))
        steps -= inside
        context_tokens += inside * sequences
    return runs


def total(runs: list[Run]) -> tuple[int, int]:
    """Return the steps of several runs and how long they take."""
    if len(runs) == 1:
        return runs[0].steps, runs[0].ticks(runs[0].steps)
    return sum(run.steps for run in runs), sum(run.ticks(run.steps) for run in runs)


def steps_reaching(runs: list[Run], ticks: int) -> tuple[int, int]:
    """Return the fewest steps that take at least `ticks`, and how long they take.

    All of them when even they take less.
    """
    steps = passed = 0
    for run in runs:
        whole = run.ticks(run.steps)
        if passed + whole >= ticks:
            inside = run.steps_reaching(ticks - passed)
            return steps + inside, passed + run.ticks(inside)
        steps += run.steps
        passed += whole
    return steps, passed
