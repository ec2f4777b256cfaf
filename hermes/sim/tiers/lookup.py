"""Lookups: which tier holds which part of a prompt's beginning, and what of it to fetch."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from hermes.sim.sequence import Sequence
from hermes.sim.tiers.instance import TierInstance

__all__ = ["Lookup", "Recalled", "Run", "cheapest", "look_up"]


@dataclass(frozen=True, slots=True)
class Recalled:
    """Stored context in front of a request's prompt, as the scenario states it.

    Attributes:
        tokens: How much.
        level: Which of the client's tiers holds it; None: none does.
    """

    tokens: int
    level: int | None


@dataclass(frozen=True, slots=True)
class Run:
    """Tokens that follow each other in one tier; the level is its place among the client's."""

    level: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Lookup:
    """What came of a lookup.

    Attributes:
        asked: Tokens asked for.
        runs: Those found, from the first on without a gap.
        fetched: How many of the runs are to be fetched.
    """

    asked: int
    runs: tuple[Run, ...]
    fetched: int

    @property
    def tokens(self) -> int:
        """Tokens to fetch."""
        return sum(run.tokens for run in self.runs[: self.fetched])

    def found_in(self, level: int) -> int:
        """Return the tokens found in a tier."""
        return sum(run.tokens for run in self.runs if run.level == level)

    def by_level(self) -> dict[int, int]:
        """Return the tokens to fetch from each tier, nearest first."""
        tokens: dict[int, int] = {}
        for run in self.runs[: self.fetched]:
            tokens[run.level] = tokens.get(run.level, 0) + run.tokens
        return dict(sorted(tokens.items()))


def look_up(
    sequence: Sequence,
    begin: int,
    block_size: int,
    instances: tuple[TierInstance, ...],
    key_of: Callable[[Sequence, int], Hashable],
) -> tuple[int, tuple[Run, ...]]:
    """Return the tokens asked for from token `begin` on, and the runs that hold them.

    A prompt's last token is never asked for: it has to be computed, to sample from.
    """
    recalled = sequence.recalled
    if recalled is not None:
        asked = max(0, recalled.tokens - begin)
        found = asked and recalled.level is not None
        return asked, (Run(recalled.level or 0, asked),) if found else ()
    first, last = begin // block_size, (sequence.target - 1) // block_size
    last = min(last, len(sequence.prefix)) if not sequence.preemptions else last
    runs: list[Run] = []
    for block in range(first, last):
        key = key_of(sequence, block)
        level = next((n for n, tier in enumerate(instances) if key in tier.store), None)
        if level is None:
            break
        if runs and runs[-1].level == level:
            runs[-1] = Run(level, runs[-1].tokens + block_size)
        else:
            runs.append(Run(level, block_size))
    return max(0, last - first) * block_size, tuple(runs)


def cheapest(
    runs: tuple[Run, ...],
    begin: int,
    target: int,
    fetch_ticks: Callable[[dict[int, int]], int],
    compute_ticks: Callable[[int, int], int],
) -> int:
    """Return how many of the runs to fetch so that fetching and computing take least together.

    Args:
        runs: What was found from token `begin` on.
        begin: Tokens there already.
        target: Tokens that are needed.
        fetch_ticks: Estimate for so many tokens from each tier.
        compute_ticks: Estimate for the tokens from one to another.
    """
    best, best_ticks = 0, compute_ticks(begin, target)
    tokens: dict[int, int] = {}
    end = begin
    for count, run in enumerate(runs, start=1):
        tokens[run.level] = tokens.get(run.level, 0) + run.tokens
        end += run.tokens
        ticks = fetch_ticks(tokens) + compute_ticks(end, target)
        if ticks < best_ticks:
            best, best_ticks = count, ticks
    return best
