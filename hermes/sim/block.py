"""A run of steps with the same batch, as one stretch of time that can be cut short."""

from __future__ import annotations

from math import isqrt
from typing import NamedTuple

from hermes.costs.step import StepCost

__all__ = ["Block", "Run", "decode_block", "one_step", "steps_reaching", "ticks_of"]


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


class Block(NamedTuple):
    """Runs one after the other, and their steps and ticks together."""

    runs: tuple[Run, ...]
    steps: int
    ticks: int


def one_step(ticks: int) -> Block:
    """Return a block of a single step."""
    return Block((Run(1, ticks, 0),), 1, ticks)


def decode_block(costs: StepCost, sequences: int, context_tokens: int, steps: int) -> Block:
    """Return `steps` decode steps of a fixed batch, with a run for each cost segment crossed."""
    limit, base, slope = costs.decode_segment(sequences, context_tokens)
    delta = slope * sequences
    first = base + slope * context_tokens
    if context_tokens + (steps - 1) * sequences < limit:
        ticks = steps * first + delta * (steps * (steps - 1) // 2)
        return Block((Run(steps, first, delta),), steps, ticks)
    runs: list[Run] = []
    left, ticks = steps, 0
    while True:
        inside = -((context_tokens - limit) // sequences)
        inside = min(inside, left)
        runs.append(Run(inside, first, delta))
        ticks += inside * first + delta * (inside * (inside - 1) // 2)
        left -= inside
        if not left:
            return Block(tuple(runs), steps, ticks)
        context_tokens += inside * sequences
        limit, base, slope = costs.decode_segment(sequences, context_tokens)
        delta = slope * sequences
        first = base + slope * context_tokens


def ticks_of(runs: tuple[Run, ...], steps: int) -> int:
    """Return how long the first `steps` steps take."""
    passed = 0
    for run in runs:
        inside = min(steps, run.steps)
        passed += run.ticks(inside)
        steps -= inside
    return passed


def steps_reaching(runs: tuple[Run, ...], ticks: int) -> tuple[int, int]:
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
