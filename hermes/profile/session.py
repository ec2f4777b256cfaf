"""The session: points measured one after the other until the time is up, each kept at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hermes.profile.bench import Bench, UnsupportedError
from hermes.profile.budget import Budget, Family
from hermes.profile.journal import Entry, Journal
from hermes.profile.physics import Peaks, refusal
from hermes.profile.point import Point
from hermes.profile.progress import Progress

__all__ = ["Outcome", "run_session"]

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a session came to."""

    peaks: Peaks
    measured: int
    refused: int
    failed: int
    left: int
    """Points that the time did not reach."""
    interrupted: bool = False


def run_session(
    bench: Bench,
    families: Sequence[Family],
    journal: Journal,
    seconds: float,
    progress: Progress,
    clock: Clock = time.monotonic,
) -> Outcome:
    """Measure the points of *families* for some *seconds*, less those the journal holds.

    A point that cannot run here is kept with the reason, one that beats the peaks as refused.
    An interruption ends the session with all finished points kept.
    """
    budget = Budget(seconds, clock)
    budget.plan(families, journal.finished)
    peaks = bench.peaks()
    for entry in journal.entries:
        peaks = _raised(peaks, entry)
    interrupted = False
    try:
        while (chosen := budget.next()) is not None:
            queue, point = chosen
            begun = clock()
            entry = _measure(bench, point, peaks, journal)
            peaks = _raised(peaks, entry)
            budget.spend(queue, clock() - begun)
            progress.show(budget.done, budget.total, budget.elapsed, seconds, point.key)
    except KeyboardInterrupt:
        interrupted = True
    entries = journal.entries
    return Outcome(
        peaks=peaks,
        measured=sum(entry.seconds is not None and "why_not" not in entry for entry in entries),
        refused=sum(entry.seconds is not None and "why_not" in entry for entry in entries),
        failed=sum(entry.seconds is None for entry in entries),
        left=budget.total - budget.done,
        interrupted=interrupted,
    )


def _measure(bench: Bench, point: Point, peaks: Peaks, journal: Journal) -> Entry:
    try:
        measured = bench.run(point)
    except UnsupportedError as error:
        return journal.add(point, None, str(error))
    return journal.add(point, measured, refusal(point, measured.seconds, peaks))


def _raised(peaks: Peaks, entry: Entry) -> Peaks:
    """Return measured peaks with what an accepted entry shows."""
    if entry.seconds is None or "why_not" in entry:
        return peaks
    columns = tuple(entry["columns"].items())
    point = Point(
        entry["operator"],
        entry["dtype"],
        columns,
        entry["flops"],
        entry["cold_bytes"],
        entry["bus"],
    )
    return peaks.raised(point, entry.seconds)
