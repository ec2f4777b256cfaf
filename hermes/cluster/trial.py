"""A trial: one candidate deployment, simulated, as a pure function from a payload to a row.

Whatever goes wrong inside becomes part of the row; nothing a trial does can end a study. What a
process has built once, workloads and compiled step costs, it keeps for the next trial: they are
functions of their keys, so a warm process returns the same bits as a cold one.
"""

from __future__ import annotations

import dataclasses
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from hermes import __version__
from hermes.cluster.data import DataFile, with_local_files
from hermes.cluster.memory_limit import memory_limit
from hermes.cluster.time_limit import OutOfTimeError, time_limit
from hermes.costs.step import StepCost
from hermes.errors import InfeasibleError
from hermes.evaluation import (
    Bound,
    EvaluationSpec,
    Hopeless,
    HopelessError,
    Runner,
    evaluate,
)
from hermes.scenario.loading import build_scenario
from hermes.scenario.overrides import apply_overrides
from hermes.scenario.scenario import Scenario
from hermes.scenario.workload import WorkloadSpec
from hermes.sim.deployment import ClientPlan, Deployment, resolve
from hermes.workload import Workload, build_workload

__all__ = ["STOPPED_AFTER", "Row", "Trial", "TrialSetup", "failure", "run_trial"]

Row = dict[str, Any]

STOPPED_AFTER = "stopped_after"
"""Column: share of its requests that were done when a hopeless simulation ended."""

_LONGEST_ERROR = 1000
_KEPT_REQUESTS = 2_000_000


@dataclass(frozen=True, slots=True)
class TrialSetup:
    """What all trials of a study share; travels once.

    Attributes:
        scenario: The scenario as plain data, before the overrides of a trial.
        folder: Where relative paths in it start.
        time_limit_s: Longest a trial may take; None for ever.
        files: The files the scenarios read, by content.
        evaluation: How a candidate is judged.
        watched: Metrics whose intervals decide how many replicates are enough.
        memory_limit_gib: Most memory a trial may add to its process; None for any.
        hopeless: Limits at which a simulation ends once it is certain to miss one.
    """

    scenario: Mapping[str, Any]
    folder: str | None = None
    time_limit_s: float | None = None
    files: tuple[DataFile, ...] = ()
    evaluation: EvaluationSpec = field(default_factory=EvaluationSpec)
    watched: tuple[str, ...] = ()
    memory_limit_gib: float | None = None
    hopeless: tuple[Bound, ...] = ()

    @property
    def home(self) -> Path | None:
        """`folder` as a path."""
        return None if self.folder is None else Path(self.folder)


@dataclass(frozen=True, slots=True)
class Trial:
    """One point of a study.

    Attributes:
        number: Its place in the order asked.
        key: Hash of everything its result depends on.
        overrides: Values by dotted path, on top of the shared scenario.
        seed: Seed of its random streams.
        files: Names of the files it reads, among those of the setup.
        attempt: 1 for the first time it is tried.
        share: Share of its requests to simulate, the first to arrive.
    """

    number: int
    key: str
    overrides: Mapping[str, Any]
    seed: int
    files: tuple[str, ...] = ()
    attempt: int = 1
    share: float = 1.0


def run_trial(setup: TrialSetup, trial: Trial) -> Row:
    """Simulate one candidate and return its row; never raises for anything a trial did."""
    row = _blank(trial)
    started = time.perf_counter()
    try:
        with time_limit(setup.time_limit_s), memory_limit(setup.memory_limit_gib):
            row |= _simulated(setup, trial)
    except OutOfTimeError:
        message = f"stopped after its time limit of {setup.time_limit_s:g} s"
        row |= _failed("timeout", "TrialTimeoutError", message)
    except MemoryError:
        _shelf().clear()
        message = (
            f"stopped when it held {setup.memory_limit_gib:g} GiB, its memory limit"
            if (setup.memory_limit_gib is not None)
            else "ran out of memory"
        )
        row |= _failed("failed", "OutOfMemoryError", message)
    except InfeasibleError as error:
        row |= _failed("infeasible", type(error).__name__, str(error))
    except KeyboardInterrupt:
        raise  # Ctrl-C, which is the study's
    except BaseException as error:  # noqa: BLE001 - a trial's failure is its row
        row |= _failed("failed", type(error).__name__, _said(error))
    row["trial_seconds"] = time.perf_counter() - started
    return row


def failure(trial: Trial, status: str, error_type: str, error: str, seconds: float = 0.0) -> Row:
    """Return the row of a trial that could not report for itself."""
    return _blank(trial) | _failed(status, error_type, error) | {"trial_seconds": seconds}


def _blank(trial: Trial) -> Row:
    return {
        "trial_key": trial.key,
        "number": trial.number,
        "seed": trial.seed,
        "hermes_version": __version__,
        "host": socket.gethostname(),
        "started_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "attempt": trial.attempt,
    }


def _failed(status: str, error_type: str, error: str) -> Row:
    text = error if len(error) <= _LONGEST_ERROR else error[:_LONGEST_ERROR] + "..."
    # A lone surrogate is text in Python but cannot be stored as UTF-8.
    return {
        "status": status,
        "error_type": error_type,
        "error": text.encode("utf-8", "replace").decode("utf-8"),
    }


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as second:  # noqa: BLE001 - the message of a broken error is best effort
        return f"(its message cannot be shown: {type(second).__name__})"


def _simulated(setup: TrialSetup, trial: Trial) -> Row:
    mapping = apply_overrides(setup.scenario, {**trial.overrides, "seed": trial.seed})
    used = tuple(file for file in setup.files if file.name in trial.files)
    scenario = build_scenario(with_local_files(mapping, used, setup.home))
    digests = tuple(file.digest for file in used)
    deployment = _warm(scenario, resolve(scenario, setup.home), digests)
    build = partial(
        _built_workload,
        tuple(scenario.pipelines),
        setup.folder,
        digests,
    )
    shortened = build if trial.share == 1 else partial(_first, trial.share, build)
    runner = Runner(scenario, deployment, shortened)
    if setup.hopeless and trial.share == 1:
        return _watched(setup, runner)
    metrics, cost_model = _judged(setup, runner)
    return {
        "status": "completed",
        "error_type": None,
        "error": None,
        **metrics,
        "cost_model": cost_model,
    }


def _watched(setup: TrialSetup, runner: Runner) -> Row:
    """Simulate until the end, or until a limit is certainly missed."""
    seed = runner.scenario.seed
    workload = runner.workload(seed)
    watch = Hopeless(setup.hopeless, runner.scenario.slo, workload, runner.deployment)
    try:
        result = runner.run(seed, workload, watch)
    except HopelessError as error:
        row = _failed("pruned", "TrialHopelessError", str(error))
        return row | {STOPPED_AFTER: watch.finished / len(workload)}
    done = {"status": "completed", "error_type": None, "error": None, STOPPED_AFTER: 1.0}
    return done | dict(result.summary) | {"cost_model": result.cost_model}


def _first(
    share: float, build: Callable[[WorkloadSpec, int], Workload], spec: WorkloadSpec, seed: int
) -> Workload:
    """Build the first share of the requests."""
    whole = build(spec, seed)
    return whole.first(max(1, round(share * len(whole))))


def _judged(setup: TrialSetup, runner: Runner) -> tuple[dict[str, Any], str]:
    if not setup.evaluation.plain:
        found = evaluate(setup.evaluation, runner, setup.watched)
        return dict(found), runner.deployment.cost_model
    seed = runner.scenario.seed
    result = runner.run(seed, runner.workload(seed))
    return dict(result.summary), result.cost_model


def _built_workload(
    pipelines: tuple[str, ...],
    folder: str | None,
    digests: tuple[str, ...],
    spec: WorkloadSpec,
    seed: int,
) -> Workload:
    """Build requests, or return those this process built before; a few million are kept."""
    # The digests are part of the key: the same path may hold other content later.
    key = repr((spec.model_dump_json(), pipelines, seed, folder, digests))
    shelf = _shelf()
    if key in shelf:
        shelf.move_to_end(key)
        return shelf[key]
    home = None if folder is None else Path(folder)
    built = shelf[key] = build_workload(spec, pipelines, seed, home)
    while len(shelf) > 1 and sum(len(w.arrival_ticks) for w in shelf.values()) > _KEPT_REQUESTS:
        shelf.popitem(last=False)
    return built


@lru_cache(maxsize=1)
def _shelf() -> OrderedDict[str, Workload]:
    """Return this process's workloads, the one used longest ago first."""
    return OrderedDict()


def _warm(scenario: Scenario, deployment: Deployment, digests: tuple[str, ...]) -> Deployment:
    """Return the deployment on step costs that this process has compiled before, where it has."""
    clients = tuple(_warm_client(scenario, client, digests) for client in deployment.clients)
    return dataclasses.replace(deployment, clients=clients)


def _warm_client(scenario: Scenario, client: ClientPlan, digests: tuple[str, ...]) -> ClientPlan:
    spec = scenario.llm_clients[client.name]
    costs = spec.costs if isinstance(spec.costs, str) else spec.costs.model_dump_json()
    # The digests are part of the key: a table may change under the same path.
    parts = (costs, digests, client.model, client.device, client.dtype, client.kv_dtype)
    shelf = _compiled()
    if len(shelf) >= 256:
        shelf.clear()
    kept = shelf.setdefault(repr((*parts, client.tensor_parallel_size)), client.costs)
    return dataclasses.replace(client, costs=kept)


@lru_cache(maxsize=1)
def _compiled() -> dict[str, StepCost]:
    """Return this process's step costs by what they were compiled from."""
    return {}
