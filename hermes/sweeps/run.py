"""Running a study into its folder: a new one, or what is missing of an old one."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from hermes.cluster import (
    Executor,
    InProcessExecutor,
    RaySession,
    TrialPool,
    TrialSetup,
    with_content,
)
from hermes.cluster.trial import STOPPED_AFTER, Row
from hermes.errors import HermesError, InputError
from hermes.evaluation import Bound, evaluation_columns
from hermes.metrics import METRICS
from hermes.results import Place, StudyFolder, open_place, trial_schema
from hermes.results.files import cause_of
from hermes.sweeps.budget import budget_of, check_grid, most_trials
from hermes.sweeps.interrupt import Interrupt
from hermes.sweeps.judge import rung_columns
from hermes.sweeps.loop import Pace, Past, StudyLoop, finished_trials
from hermes.sweeps.mirror import Mirror
from hermes.sweeps.optuna_sampler import OptunaSampler, require_installed
from hermes.sweeps.progress import open_progress
from hermes.sweeps.sampler_spec import SamplerSpec
from hermes.sweeps.samplers import (
    Finished,
    Sampler,
    choose_sampler,
    done_numbers,
    grid_sampler,
    qmc_sampler,
    random_sampler,
)
from hermes.sweeps.short_runs import ShortRuns, Target
from hermes.sweeps.study import Study
from hermes.sweeps.warm_start import warm_start

__all__ = ["RunOptions", "StudyOutcome", "run", "run_study"]


@dataclass(frozen=True, slots=True)
class StudyOutcome:
    """How a study ended.

    Attributes:
        counts: Trials in the folder by status, earlier runs included.
        folder: The folder, or its URL.
        exit_code: What a shell expects of a process that a signal ended (130 for Ctrl-C); None
            where the study came to its end.
    """

    counts: Mapping[str, int]
    folder: Path | str
    exit_code: int | None

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended it: Ctrl-C, SIGTERM or SIGHUP."""
        return self.exit_code is not None

    @property
    def failed(self) -> int:
        """Trials that ended in an error or ran out of time."""
        return self.counts.get("failed", 0) + self.counts.get("timeout", 0)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to run a study; see `run_study`. `pace` says when rows are written."""

    address: str | None = None
    trials: int | None = None
    resume: bool = False
    workers: int | None = None
    quiet: bool = False
    pace: Pace = field(default_factory=Pace)
    mirror: Path | None = None


def run_study(  # noqa: PLR0913 - a public door; all but two are options, by name
    study: Study,
    out: Path | str,
    *,
    address: str | None = None,
    trials: int | None = None,
    resume: bool = False,
    workers: int | None = None,
    quiet: bool = False,
    mirror: Path | None = None,
) -> StudyOutcome:
    """Run a study; whatever happens, every row written stays.

    Args:
        study: From `load_study`.
        out: The study's folder, or the URL of a prefix in an object store.
        address: A Ray cluster to join; default: an embedded Ray.
        trials: Trials in all, instead of the study's.
        resume: Go on with the study that *out* holds, where it holds one.
        workers: CPUs to use; 0 runs the trials in this process, without Ray.
        quiet: Show no progress.
        mirror: Optuna journal to keep a copy in, for optuna-dashboard.

    Raises:
        InputError: The folder holds something else, or no point of the space can exist.
        StudyLockedError: Another driver is writing there.
    """
    return run(study, out, RunOptions(address, trials, resume, workers, quiet, mirror=mirror))


def run(study: Study, out: Path | str, options: RunOptions) -> StudyOutcome:
    """Run a study; see `run_study`."""
    if options.trials is not None:
        study = replace(study, spec=study.spec.model_copy(update={"trials": options.trials}))
    place = open_place(out)
    _refuse_foreign(place)
    with StudyFolder(place) as folder, Interrupt() as interrupt:
        chosen = _claim(study, folder, options.resume)
        columns = _columns(study)
        schema = trial_schema(study.space.types(), columns, str(study.record()["study_key"]))
        stored = folder.read_rows(schema)
        rows: list[Row] = stored.to_dicts()
        earlier = warm_start(study)
        sampler = _sampler(study, chosen, [*earlier.lessons, *finished_trials(study, rows)])
        budget = budget_of(study, chosen)
        mirror = None if options.mirror is None else Mirror(study, options.mirror)
        with open_progress(most_trials(study, budget), len(rows), options.quiet) as progress:
            for part in stored.set_aside:
                progress.say(f"set aside {part.file}: {part.why}; its trials run again")
            if earlier.said:
                progress.say(earlier.said)
            with _executor(study, options) as executor:
                past = Past(rows, earlier.rows)
                runs = _with_short_runs(study, executor, rows)
                loop = StudyLoop(study, folder, schema, sampler, runs, past, options.pace)
                if mirror is not None:
                    mirror.add(rows)
                    loop.on_written = mirror.add
                loop.run(budget, interrupt, progress)
                if mirror is not None and mirror.problem:
                    progress.say(f"the mirror {options.mirror} is not complete: {mirror.problem}")
            if study.spec.stop_hopeless:
                progress.say(
                    f"{loop.hopeless} trials were certain to miss a limit and ended early; "
                    f"{loop.unfinished:.1f} whole simulations were saved"
                )
            if study.spec.pruner is not None:
                progress.say(_saved(loop.simulated, loop.counts))
    if not interrupt.pressed:
        _require_possible(study, loop.counts, loop.reasons)
    return StudyOutcome(dict(sorted(loop.counts.items())), out, interrupt.exit_code)


def _columns(study: Study) -> tuple[str, ...]:
    """Return the numeric columns of the study's rows."""
    pruner = study.spec.pruner
    short = () if pruner is None else rung_columns(pruner)
    stopped = (STOPPED_AFTER,) if study.spec.stop_hopeless else ()
    return (*METRICS, *evaluation_columns(study.spec.evaluation), *short, *stopped)


def _bounds(study: Study) -> tuple[Bound, ...]:
    if not study.spec.stop_hopeless:
        return ()
    return tuple(Bound(limit.metric, limit.sign, limit.limit) for limit in study.spec.limits())


def _with_short_runs(study: Study, executor: Executor, rows: list[Row]) -> Executor:
    """Put short runs before the long ones, where the study has a pruner."""
    spec = study.spec
    if spec.pruner is None:
        return executor
    name, direction = next(iter(spec.objectives.items()))
    target = Target(name, direction == "maximize", spec.limits())
    return ShortRuns(executor, spec.pruner, target, rows)


def _saved(simulated: float, counts: Counter[str]) -> str:
    """Say what the pruner saved, its short runs counted against it."""
    pruned, whole = counts["pruned"], counts["pruned"] + counts["completed"]
    share = 1 - simulated / whole if whole else 0.0
    return (
        f"the pruner stopped {pruned} of {whole} trials early; {share:.0%} of the requests were "
        "not simulated"
    )


def _refuse_foreign(out: Place) -> None:
    """Refuse to mix a study into a folder of other things."""
    try:
        names = out.names()
    except NotADirectoryError:
        raise InputError("is a file; choose a folder for the study", "--out", str(out)) from None
    except OSError as error:
        raise HermesError(f"cannot list {out}: {cause_of(error)}") from error
    if names and not {"study.json", ".lock", ".drivers"} & set(names):
        raise InputError(
            f"the folder holds other things ({', '.join(sorted(names)[:3])}); choose an empty or "
            "a new one",
            "--out",
            str(out),
        )


def _claim(study: Study, folder: StudyFolder, resume: bool) -> SamplerSpec:
    """Write study.json, or check that the one there is this study; return the sampler to use."""
    held = folder.study()
    if held is not None and not resume:
        raise InputError(
            "the folder holds a study already; add --resume to go on with it, or choose another "
            "folder",
            "--out",
            str(folder.place),
        )
    chosen = choose_sampler(study.spec)
    if held is not None and study.spec.sampler.name == "auto":
        # A larger budget must not make `auto` change its mind: numbers would change their meaning.
        chosen = SamplerSpec.model_validate({"name": held.get("chosen_sampler", chosen.name)})
    require_installed(chosen)
    if chosen.name == "grid":
        check_grid(study)
    home = folder.place.at(".")
    local = not isinstance(home, str)
    files_from = os.path.relpath(study.folder, home) if local else str(study.folder.absolute())
    aids = {"chosen_sampler": chosen.name, "files_from": files_from}
    folder.write_study(study.record() | aids)
    return chosen


def _sampler(study: Study, chosen: SamplerSpec, finished: list[Finished]) -> Sampler:
    spec = study.spec
    if chosen.name == "grid":
        return grid_sampler(study.space, done_numbers(finished))
    if chosen.name == "random":
        return random_sampler(study.space, spec.seed, done_numbers(finished))
    if chosen.name == "qmc":
        return qmc_sampler(study.space, spec.seed, done_numbers(finished))
    return OptunaSampler(study.space, chosen, spec.objectives, spec.seed, finished)


@contextmanager
def _executor(study: Study, options: RunOptions) -> Iterator[Executor]:
    setup = TrialSetup(
        study.scenario,
        str(study.folder),
        study.spec.trial_timeout_s,
        study.files,
        evaluation=study.spec.evaluation,
        watched=tuple(study.spec.objectives),
        memory_limit_gib=study.spec.trial_memory_gib,
        hopeless=_bounds(study),
    )
    if options.workers == 0:
        yield InProcessExecutor(setup)
        return
    session = RaySession.start(options.workers, options.address)
    try:
        if not session.local:
            setup = replace(setup, files=with_content(study.files, study.folder))
        pool = TrialPool(session, setup)
        try:
            yield pool
        finally:
            pool.close()
    finally:
        session.close()


def _require_possible(study: Study, counts: Counter[str], reasons: Counter[str]) -> None:
    """Refuse a study of which no point can exist; its rows stay, to be looked at."""
    total = counts["infeasible"]
    if total == 0 or counts.total() > total:
        return
    reason, times = reasons.most_common(1)[0]
    raise InputError(
        f"no point can exist: all {total} are infeasible. Most often ({times} of {total}): "
        f"{reason.removeprefix('infeasible: ')}",
        "space",
        study.file,
    )
