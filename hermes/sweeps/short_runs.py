"""Multi-fidelity: each trial is simulated briefly first, and the promising ones at length.

Stands between the study loop and what runs trials. Trials come in cohorts (by number), of which
all are run on the first, short share of their requests; then the judge says who goes on to the
next, and who ends there, as a row with the status `pruned`. A short run is that of the first
requests of the same workload, the same draws, so what it says is about the same traffic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hermes.cluster import Executor, Trial
from hermes.cluster.trial import Row, failure
from hermes.metrics import METRICS
from hermes.sweeps.constraint import Constraint
from hermes.sweeps.judge import SIMULATED, Judge, rung_column, standing
from hermes.sweeps.pruner_spec import PrunerSpec

__all__ = ["ShortRuns", "Target"]


@dataclass(frozen=True, slots=True)
class Target:
    """What trials are compared by: an objective, and the limits that come before it."""

    objective: str
    maximize: bool
    limits: tuple[Constraint, ...]

    def standing(self, row: Mapping[str, Any]) -> float:
        """Return a run's standing; see `hermes.sweeps.judge.standing`."""
        return standing(row, self.objective, self.maximize, self.limits)


@dataclass(slots=True)
class _Member:
    """A trial of the cohort under way.

    Attributes:
        trial: The trial; None for one that an earlier run of the driver has settled.
        standings: After each short run so far.
        row: Its final row, once there is one.
        simulated: Requests simulated for it, in whole runs.
    """

    trial: Trial | None
    standings: list[float] = field(default_factory=list)
    row: Row | None = None
    simulated: float = 0.0
    seconds: float = 0.0


class ShortRuns:
    """An executor that runs trials briefly before it runs them at length; see `Executor`.

    Args:
        inner: What runs them.
        spec: The pruner.
        target: What trials are compared by.
        past: Rows of earlier runs.
    """

    def __init__(
        self, inner: Executor, spec: PrunerSpec, target: Target, past: Sequence[Row]
    ) -> None:
        self._inner = inner
        self._spec = spec
        self._target = target
        self._shares = spec.shares()
        self._judge = Judge(spec, target.maximize)
        self._cohort: int | None = None
        self._members: dict[int, _Member] = {}
        self._closed = False
        self._rung = 0
        self._past = {int(row["number"]): row for row in past}
        self._replayed = -1  # the last cohort whose past was told to the judge

    @property
    def width(self) -> int:
        """How many trials run side by side."""
        return self._inner.width

    @property
    def cohort(self) -> int | None:
        """The cohort under way; None between two."""
        return self._cohort

    def cohort_of(self, number: int) -> int:
        """Return the cohort of a trial."""
        return number // self._spec.cohort

    def wanted(self) -> int:
        """Return how many more trials would keep every worker busy; see `Executor`."""
        return 0 if self._closed else self._inner.wanted()

    def submit(self, trials: Sequence[Trial]) -> None:
        """Take trials of one cohort; see `Executor`."""
        for trial in trials:
            self._enter(self.cohort_of(trial.number))
            self._members[trial.number] = _Member(trial)
        self._inner.submit([replace(trial, share=self._shares[0]) for trial in trials])

    def close_cohort(self) -> None:
        """Say that no more trials of the cohort under way will come."""
        self._closed = self._cohort is not None

    def wait(self, timeout_s: float) -> list[Row]:
        """Return final rows only; see `Executor`."""
        for row in self._inner.wait(timeout_s):
            self._take(row)
        return self._advanced() if self._closed else []

    def close(self) -> None:
        """Stop what still runs; see `Executor`."""
        self._inner.close()

    def _enter(self, cohort: int) -> None:
        if self._cohort == cohort:
            return
        self._cohort, self._rung = cohort, 0
        for number in sorted(self._past):
            if self._replayed < self.cohort_of(number) < cohort:
                self._replay(self.cohort_of(number))
        self._replayed = cohort
        self._members = {
            number: self._settled(row)
            for number, row in self._past.items()
            if self.cohort_of(number) == cohort
        }

    def _settled(self, row: Row) -> _Member:
        found = []
        for rung in range(len(self._shares)):
            value = row.get(rung_column(rung))
            if value is None:
                break
            found.append(float(value))
        return _Member(None, found, row)

    def _replay(self, cohort: int) -> None:
        """Tell the judge of a cohort that earlier runs of the driver have settled."""
        self._replayed = cohort
        members = {
            number: self._settled(row)
            for number, row in sorted(self._past.items())
            if self.cohort_of(number) == cohort
        }
        for rung in range(len(self._shares)):
            for number, member in members.items():
                if len(member.standings) > rung:
                    self._judge.prunes(number, rung, member.standings[rung])
        self._tell(members)

    def _tell(self, members: Mapping[int, _Member]) -> None:
        for number in sorted(members):
            row = members[number].row or {}
            done = row.get("status") == "completed"
            value = self._target.standing(row) if done else None
            self._judge.ended(number, value, row.get("status") == "pruned")

    def _take(self, row: Row) -> None:
        member = self._members[int(row["number"])]
        if member.trial is None or member.row is not None:
            return
        rung = len(member.standings)
        whole = rung == len(self._shares)
        member.simulated += 1.0 if whole else self._shares[rung]
        member.seconds += float(row["trial_seconds"])
        if whole or row["status"] != "completed":
            member.row = self._final(member, row)
        else:
            member.standings.append(self._target.standing(row))

    def _final(self, member: _Member, row: Row) -> Row:
        """Return a trial's row: of its whole run, or of what came of it."""
        if row["status"] != "completed":
            row = {name: value for name, value in row.items() if name not in METRICS}
        rungs = {rung_column(rung): value for rung, value in enumerate(member.standings)}
        return row | rungs | {SIMULATED: member.simulated, "trial_seconds": member.seconds}

    def _advanced(self) -> list[Row]:
        """Judge the cohort where its short runs are done; return the rows that are final now."""
        rows: list[Row] = []
        while self._cohort is not None:
            fresh = {n: m for n, m in sorted(self._members.items()) if m.trial is not None}
            running = [m for m in fresh.values() if m.row is None]
            if any(len(member.standings) <= self._rung for member in running):
                return rows + self._released_in_order(fresh)
            self._judged()
            rows += self._released(fresh)
            running = [m for m in fresh.values() if m.trial is not None and m.row is None]
            self._rung += 1
            if running:
                self._promote(running)
                return rows
            while self._rung < len(self._shares):
                self._judged()  # of trials that an earlier run of the driver settled
                self._rung += 1
            self._tell(self._members)
            self._cohort, self._closed, self._members = None, False, {}
        return rows

    def _judged(self) -> None:
        """Ask the judge about everybody who has been through the run under way."""
        if self._rung >= len(self._shares):
            return
        for number, member in sorted(self._members.items()):
            if len(member.standings) <= self._rung:
                continue
            prunes = self._judge.prunes(number, self._rung, member.standings[self._rung])
            if prunes and member.row is None and member.trial is not None:
                member.row = self._pruned(member, member.trial)

    def _pruned(self, member: _Member, trial: Trial) -> Row:
        share = self._shares[self._rung]
        value = member.standings[-1]
        said = "no value" if math.isnan(value) else f"{self._target.objective} {value:.4g}"
        if abs(value) >= 1e29:
            said = "a limit missed"
        message = f"stopped by {self._spec.name} after {share:.3g} of its requests, with {said}"
        row = failure(trial, "pruned", "TrialPrunedError", message)
        return self._final(member, row)

    def _released(self, fresh: dict[int, _Member]) -> list[Row]:
        """Return the final rows that were not returned before, in the order asked."""
        rows = []
        for member in fresh.values():
            if member.row is not None and member.trial is not None:
                rows.append(dict(member.row))
                member.trial = None
        return rows

    def _released_in_order(self, fresh: dict[int, _Member]) -> list[Row]:
        """Return whole runs that are done, up to the first that is not."""
        done: dict[int, _Member] = {}
        if self._rung >= len(self._shares):
            for number, member in fresh.items():
                if member.row is None:
                    break
                done[number] = member
        return self._released(done)

    def _promote(self, members: Sequence[_Member]) -> None:
        whole = self._rung >= len(self._shares)
        share = 1.0 if whole else self._shares[self._rung]
        self._inner.submit([replace(m.trial, share=share) for m in members if m.trial is not None])
