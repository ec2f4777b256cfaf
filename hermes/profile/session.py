"""The session: points measured one after the other until the time is up, each kept at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hermes.profile.bench import Bench, DeviceLostError, UnsupportedError
from hermes.profile.budget import Budget, Family
from hermes.profile.journal import Entry, Journal
from hermes.profile.patience import Patience
from hermes.profile.physics import Peaks, refusal
from hermes.profile.point import Point
from hermes.profile.progress import Progress

__all__ = ["Outcome", "run_session"]

Clock = Callable[[], float]
_PREPARED_S = 0.005
"""To make the inputs of a small point."""


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
    lost: str = ""
    """Why the device answers no more, where it does not."""


def run_session(
    bench: Bench,
    families: Sequence[Family],
    journal: Journal,
    seconds: float,
    progress: Progress,
    clock: Clock = time.monotonic,
    point_seconds: float = 0.05,
) -> Outcome:
    """Measure the points of *families* for some *seconds*, less those the journal holds.

    A point that cannot run here is kept with the reason, one that beats the peaks as refused. None
    starts that could outlast the time; see `Patience`. An interruption ends the session with all
    finished points kept, and so does a device that answers no more.

    Args:
        bench: The device.
        families: What to measure.
        journal: Where it is kept.
        seconds: At most.
        progress: Is told of every point.
        clock: Of the time.
        point_seconds: How long calls of a point are repeated.
    """
    peaks = bench.peaks()
    budget = Budget(seconds, clock, peaks, Patience(_PREPARED_S + point_seconds))
    budget.plan(families, journal.finished)
    for entry in journal.entries:
        peaks = _raised(peaks, entry)
    interrupted, lost = False, ""
    try:
        while (chosen := budget.next()) is not None:
            queue, point = chosen
            begun = clock()
            entry = _measure(bench, point, peaks, journal)
            peaks = _raised(peaks, entry)
            budget.spend(queue, point, clock() - begun)
            progress.show(budget.done, budget.total, budget.elapsed, seconds, point.key)
    except KeyboardInterrupt:
        interrupted = True
    except DeviceLostError as error:
        lost = str(error)
    entries = journal.entries
    return Outcome(
        peaks=peaks,
        measured=sum(entry.seconds is not None and "why_not" not in entry for entry in entries),
        refused=sum(entry.seconds is not None and "why_not" in entry for entry in entries),
        failed=sum(entry.seconds is None for entry in entries),
        left=budget.total - budget.done,
        interrupted=interrupted,
        lost=lost,
    )


def _measure(bench: Bench, point: Point, peaks: Peaks, journal: Journal) -> Entry:
    try:
        measured = bench.run(point)
    except UnsupportedError as error:
        return journal.add(point, None, str(error))
    except DeviceLostError as error:
        journal.add(point, None, str(error))
        raise
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
