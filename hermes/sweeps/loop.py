"""The study loop: ask, check, run, store, tell, until the budget or the space is used up.

The driver alone writes. A row counts once its part is on the disk; rows are written about every
second, so a driver that is killed loses at most that, and the next one runs it again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hermes.cluster import Executor, Trial
from hermes.cluster.trial import STOPPED_AFTER, Row, failure
from hermes.results import StudyFolder, parameter_column
from hermes.results.schema import PARAMETER_PREFIX
from hermes.sweeps.candidate import Candidate
from hermes.sweeps.constraint import judge
from hermes.sweeps.interrupt import Interrupt
from hermes.sweeps.judge import SIMULATED, rung_column
from hermes.sweeps.progress import Bests, Progress
from hermes.sweeps.samplers import Finished, Outcome, Proposal, Sampler
from hermes.sweeps.short_runs import ShortRuns
from hermes.sweeps.space import Point
from hermes.sweeps.study import Study

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Pace", "Past", "StudyLoop", "finished_trials", "outcome_of"]

_WAIT_S = 0.5
_EXPLORE_AFTER = 20
_MOST_DUPLICATES = 1000


@dataclass(frozen=True, slots=True)
class Pace:
    """When rows are written: after so many, or so long after the last time."""

    rows: int = 256
    seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class Past:
    """Rows that are there already.

    Attributes:
        stored: Those of this study's earlier runs.
        elsewhere: Those of another study by trial key, taken over where they are asked for.
    """

    stored: Sequence[Row]
    elsewhere: Mapping[str, Row]


@dataclass(slots=True)
class _Open:
    """A trial under way, and the proposals that wait for it."""

    point: Point
    proposals: list[Proposal]


class StudyLoop:
    """Runs what is missing of a study.

    Args:
        study: The study.
        folder: Its folder, open.
        schema: The schema of its rows.
        sampler: Proposes points; knows the trials of earlier runs.
        executor: Runs trials.
        past: Rows that are there already.
        pace: When rows are written.
    """

    def __init__(
        self,
        study: Study,
        folder: StudyFolder,
        schema: pa.Schema,
        sampler: Sampler,
        executor: Executor,
        past: Past,
        pace: Pace,
    ) -> None:
        self._study = study
        self._folder = folder
        self._schema = schema
        self._sampler = sampler
        self._executor = executor
        self._pace = pace
        self._elsewhere = past.elsewhere
        self._limits = study.spec.limits()
        self._known: dict[str, Outcome] = {}
        self._open: dict[str, _Open] = {}
        self._unwritten: list[Row] = []
        self._written_at = time.monotonic()
        self._duplicates = 0  # in a row
        self._spent = False  # the sampler has nothing left
        self._short = executor if isinstance(executor, ShortRuns) else None
        self._held: Proposal | None = None  # asked for, but of the next cohort
        self.on_written: Callable[[Sequence[Row]], None] | None = None
        self.counts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.hopeless = 0  # trials that ended once a limit was certainly missed
        self.unfinished = 0.0  # what was not simulated of them, in whole runs
        self.simulated = 0.0  # requests under a pruner, in whole runs
        self.bests = Bests(study.spec.objectives)
        for row in past.stored:
            self._known[str(row["trial_key"])] = outcome_of(study, row)
            self._count(row)

    def run(self, trials: int | None, interrupt: Interrupt, progress: Progress) -> None:
        """Run until *trials* have ended in all, counting earlier runs; None for the whole grid."""
        try:
            while not interrupt.pressed:
                self._fill(trials)
                progress.show(self.counts, self.bests)
                if not self._open:
                    break
                rows: list[Row] = []
                with interrupt.breakable():
                    rows = self._executor.wait(_WAIT_S)
                for row in rows:
                    self._finish(row)
                self._write_when_due()
        finally:
            self._write()
            progress.show(self.counts, self.bests)

    def _fill(self, trials: int | None) -> None:
        """Submit as many trials as the executor and the sampler want."""
        batch: list[Trial] = []
        wanted = self._executor.wanted()
        most = self._sampler.most_in_flight(self._executor.width)
        if self._short is not None:
            most = None  # a cohort's size is what bounds it, however many workers there are
        ended = False
        while not self._spent and len(batch) < wanted:
            ended = trials is not None and self.counts.total() + len(self._open) >= trials
            if ended or (most is not None and len(self._open) >= most):
                break
            proposal = self._asked(batch)
            if proposal is None:
                break
            trial = self._admit(proposal)
            if trial is not None:
                batch.append(trial)
            self._write_when_due()
        if batch:
            self._executor.submit(batch)
        if self._short is not None and (ended or self._spent or self._held is not None):
            self._short.close_cohort()

    def _asked(self, batch: Sequence[Trial]) -> Proposal | None:
        """Return the next proposal, unless there is none, or it is of the next cohort."""
        proposal, self._held = self._held, None
        if proposal is None:
            proposal = self._sampler.ask(explore=self._duplicates >= _EXPLORE_AFTER)
        if proposal is None:
            self._spent = True
        elif self._short is not None:
            now = self._short.cohort
            if batch:
                now = self._short.cohort_of(batch[0].number)
            if now is not None and self._short.cohort_of(proposal.number) != now:
                self._held, proposal = proposal, None
        return proposal

    def _admit(self, proposal: Proposal) -> Trial | None:
        """Return the trial that a proposal asks for, unless its answer is known or on its way."""
        candidate = self._study.candidates.build(proposal.point)
        known = self._known.get(candidate.key)
        if known is not None or candidate.key in self._open:
            self._duplicates += 1
            self._spent = self._duplicates >= _MOST_DUPLICATES
            if known is not None:
                self._sampler.tell(proposal, known)
            else:
                self._open[candidate.key].proposals.append(proposal)
            return None
        self._duplicates = 0
        trial = _trial(proposal, candidate)
        self._open[candidate.key] = _Open(proposal.point, [proposal])
        if candidate.key in self._elsewhere:
            self._finish(self._taken_over(self._elsewhere[candidate.key], trial))
            return None
        if candidate.problem is None:
            return trial
        kind = type(candidate.problem).__name__
        self._finish(failure(trial, "infeasible", kind, str(candidate.problem)))
        return None

    def _taken_over(self, row: Row, trial: Trial) -> Row:
        """Return an earlier study's row as one of this study."""
        known = {
            name: row[name]
            for name in self._schema.names
            if name in row and not name.startswith(PARAMETER_PREFIX)
        }
        return known | {"number": trial.number, "feasible": None, "violation": None}

    def _finish(self, row: Row) -> None:
        under_way = self._open.pop(str(row["trial_key"]), None)
        if under_way is None:
            return  # a second copy of a row that is settled
        for path, value in under_way.point.items():
            row[parameter_column(path)] = value
        if row["status"] == "completed":
            row["feasible"], row["violation"] = judge(self._limits, row)
        outcome = outcome_of(self._study, row)
        self._known[str(row["trial_key"])] = outcome
        for proposal in under_way.proposals:
            self._sampler.tell(proposal, outcome)
        self._unwritten.append(row)
        self._count(row)

    def _count(self, row: Row) -> None:
        self.counts[str(row["status"])] += 1
        if row.get("error_type") == "TrialHopelessError":
            self.hopeless += 1
            self.unfinished += 1 - float(row.get(STOPPED_AFTER) or 0.0)
        self.simulated += float(row.get(SIMULATED) or 0.0)
        if row["status"] != "completed":
            self.reasons[f"{row['status']}: {row.get('error')}"] += 1
        self.bests.add(row)

    def _write_when_due(self) -> None:
        late = time.monotonic() - self._written_at >= self._pace.seconds
        if len(self._unwritten) >= self._pace.rows or (self._unwritten and late):
            self._write()

    def _write(self) -> None:
        if self._unwritten:
            self._folder.write_part(self._unwritten, self._schema)
            if self.on_written is not None:
                self.on_written(self._unwritten)
            self._unwritten = []
            self._folder.compact(self._schema)
        self._written_at = time.monotonic()


def finished_trials(study: Study, stored: Sequence[Row]) -> list[Finished]:
    """Return the trials of earlier runs as a sampler needs them, in the order asked."""
    space = study.space
    return [
        Finished(int(row["number"]), space.of_row(row), outcome_of(study, row)) for row in stored
    ]


def outcome_of(study: Study, row: Row) -> Outcome:
    """Return what a sampler learns from a row."""
    if row["status"] != "completed":
        return Outcome(None, {}, _short(study, row))
    values = [row.get(name) for name in study.spec.objectives]
    excesses = {str(limit): limit.excess(row) for limit in study.spec.limits()}
    if any(value is None for value in values):
        return Outcome(None, excesses)
    return Outcome(tuple(float(value) for value in values if value is not None), excesses)


def _short(study: Study, row: Row) -> tuple[float, ...]:
    """Return the standings of a trial that a pruner ended."""
    if study.spec.pruner is None or row["status"] != "pruned":
        return ()
    found = (row.get(rung_column(rung)) for rung in range(len(study.spec.pruner.shares())))
    return tuple(float(value) for value in found if value is not None)


def _trial(proposal: Proposal, candidate: Candidate) -> Trial:
    names = tuple(file.name for file in candidate.files)
    return Trial(proposal.number, candidate.key, candidate.overrides, candidate.seed, names)
