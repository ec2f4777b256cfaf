"""A run of steps with the same batch, as one stretch of time that can be cut short."""

from __future__ import annotations

from math import isqrt

from hermes.costs.step import StepCost

__all__ = ["Block", "Run", "decode_block", "one_step", "run_ticks", "steps_reaching", "ticks_of"]


Run = tuple[int, int, int]
"""`(steps, first, delta)`: so many steps, of `first`, `first + delta`, ... ticks."""


def run_ticks(run: Run, steps: int) -> int:
    """Return how long the first `steps` of a run take."""
    return steps * run[1] + run[2] * (steps * (steps - 1) // 2)


def run_steps_reaching(run: Run, ticks: int) -> int:
    """Return the fewest steps of a run that take at least `ticks`."""
    _, first, delta = run
    if delta == 0:
        return -(-ticks // first)
    # delta/2 * s^2 + (first - delta/2) * s >= ticks, in integers
    slope = 2 * first - delta
    steps = (isqrt(slope * slope + 8 * delta * ticks) - slope) // (2 * delta)
    while steps * first + delta * (steps * (steps - 1) // 2) < ticks:
        steps += 1
    return steps


Block = tuple[tuple[Run, ...], int, int]
"""Runs one after the other, and their steps and ticks together."""


def one_step(ticks: int) -> Block:
    """Return a block of a single step."""
    return ((1, ticks, 0),), 1, ticks


def decode_block(costs: StepCost, sequences: int, context_tokens: int, steps: int) -> Block:
    """Return `steps` decode steps of a fixed batch, with a run for each cost segment crossed."""
    limit, base, slope = costs.decode_segment(sequences, context_tokens)
    delta = slope * sequences
    first = base + slope * context_tokens
    if context_tokens + (steps - 1) * sequences < limit:
        ticks = steps * first + delta * (steps * (steps - 1) // 2)
        return ((steps, first, delta),), steps, ticks
    runs: list[Run] = []
    left, ticks = steps, 0
    while True:
        inside = -((context_tokens - limit) // sequences)
        inside = min(inside, left)
        runs.append((inside, first, delta))
        ticks += inside * first + delta * (inside * (inside - 1) // 2)
        left -= inside
        if not left:
            return tuple(runs), steps, ticks
        context_tokens += inside * sequences
        limit, base, slope = costs.decode_segment(sequences, context_tokens)
        delta = slope * sequences
        first = base + slope * context_tokens


def steps_reaching(runs: tuple[Run, ...], ticks: int) -> tuple[int, int]:
    """Return the fewest steps that take at least `ticks`, and how long they take.

    All of them when even they take less.
    """
    if len(runs) == 1:
        most, first, delta = run = runs[0]
        whole = most * first + delta * (most * (most - 1) // 2)
        if whole < ticks:
            return most, whole
        steps = run_steps_reaching(run, ticks)
        return steps, steps * first + delta * (steps * (steps - 1) // 2)
    steps = passed = 0
    for run in runs:
        whole = run_ticks(run, run[0])
        if passed + whole >= ticks:
            inside = run_steps_reaching(run, ticks - passed)
            return steps + inside, passed + run_ticks(run, inside)
        steps += run[0]
        passed += whole
    return steps, passed


def ticks_of(runs: tuple[Run, ...], steps: int) -> int:
    """Return how long the first `steps` steps of some runs take."""
    ticks = 0
    for run in runs:
        inside = min(steps, run[0])
        ticks += run_ticks(run, inside)
        steps -= inside
    return ticks
