"""Confirming a trial: simulated again with the real engine's own scheduler making the batches.

A study finds its winners with Hermes' copy of a scheduler. Here one of them runs twice, as it ran
and with the policy that asks the real engine at every step, and the two are compared: every metric,
and every request's first and last token.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hermes.errors import InputError
from hermes.metrics import METRICS, RequestColumns
from hermes.metrics.summary import Number
from hermes.scenario.loading import build_scenario
from hermes.scenario.overrides import apply_overrides
from hermes.scenario.scenario import Scenario
from hermes.scenario.units import TICKS_PER_MILLISECOND
from hermes.sim.batching import BATCHING
from hermes.sim.deployment import resolve
from hermes.sim.simulation import SimulationResult, simulate_deployment
from hermes.sweeps.stored_trial import StoredTrial, read_stored_trial
from hermes.workload import build_workload

__all__ = ["Confirmation", "Difference", "TokenTimes", "confirm_trial"]

_KEY_METRICS = (
    "ttft_ms.p50",
    "ttft_ms.p99",
    "tpot_ms.p50",
    "tpot_ms.p99",
    "itl_ms.p99",
    "e2el_ms.p99",
    "output_throughput",
    "request_goodput",
    "completed",
    "preemptions",
    "steps",
)


@dataclass(frozen=True, slots=True)
class Difference:
    """A metric as the trial has it, and as the real scheduler has it."""

    own: Number
    real: Number

    @property
    def relative(self) -> float:
        """How far the two are apart, relative to the larger; infinite where one is undefined."""
        if self.own == self.real:
            return 0.0
        if self.own is None or self.real is None:
            return math.inf
        return abs(self.own - self.real) / max(abs(self.own), abs(self.real))


@dataclass(frozen=True, slots=True)
class TokenTimes:
    """How many requests got a token at another time, and by how much at most.

    A request that was completed by one of the two only differs, and counts in no largest.
    """

    requests: int
    largest_ms: float


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What came of running a trial on the real scheduler.

    Attributes:
        trial: Its number.
        key: Its key.
        point: What it chose, by dotted path.
        engines: The real engine that stood in, by client.
        reproduced: Whether the trial, run again as it was, gave the metrics of its row; None where
            the row is not that of one simulation.
        requests: Requests of its workload.
        metrics: Those its study asks for, then the usual ones.
        first_token: Where the first tokens differ.
        last_token: Where the last tokens differ.
    """

    trial: int
    key: str
    point: Mapping[str, Any]
    engines: Mapping[str, str]
    reproduced: bool | None
    requests: int
    metrics: Mapping[str, Difference]
    first_token: TokenTimes
    last_token: TokenTimes

    @property
    def largest(self) -> float:
        """The largest relative difference of a metric."""
        return max(difference.relative for difference in self.metrics.values())

    def within(self, tolerance: float) -> bool:
        """Whether no metric differs by more, relative to itself; at 0, nor any token's time."""
        if tolerance == 0 and (self.first_token.requests or self.last_token.requests):
            return False
        return self.largest <= tolerance

    def facts(self, tolerance: float) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "trial": self.trial,
            "trial_key": self.key,
            "parameters": dict(self.point),
            "engines": dict(self.engines),
            "reproduced": self.reproduced,
            "tolerance": tolerance,
            "confirmed": self.within(tolerance),
            "metrics": {
                name: {
                    "own": each.own,
                    "real": each.real,
                    "relative_difference": each.relative if math.isfinite(each.relative) else None,
                }
                for name, each in self.metrics.items()
            },
            "requests": self.requests,
            "first_token": _facts(self.first_token),
            "last_token": _facts(self.last_token),
        }


def confirm_trial(
    folder: Path | str, which: str | None = None, data: Path | None = None
) -> Confirmation:
    """Simulate a study's trial with its own batching and with the real engine's scheduler.

    Args:
        folder: What `hermes sweep --out` wrote.
        which: The trial's number or the beginning of its key; default: the front's best.
        data: Where the scenario's relative paths start; default: where they did when it ran.

    Raises:
        InputError: no such trial; or its batching follows no real engine, the engine is not
            installed, or does not do what the trial asks for.
    """
    trial = read_stored_trial(folder, which, data)
    real = _on_the_real_engine(trial)
    own, other = (_run(scenario, trial) for scenario in (trial.scenario, real))
    names = [name for name in dict.fromkeys([*trial.interest, *_KEY_METRICS]) if name in METRICS]
    return Confirmation(
        trial=trial.row["number"],
        key=trial.row["trial_key"],
        point=trial.point,
        engines={
            name: BATCHING.find(client.batching, "batching").engine_version() or client.batching
            for name, client in real.llm_clients.items()
        },
        reproduced=_reproduced(trial, own) if trial.judged_by_one else None,
        requests=len(own.requests.arrival),
        metrics={name: Difference(own.summary[name], other.summary[name]) for name in names},
        first_token=_token_times(own.requests, other.requests, "first_token"),
        last_token=_token_times(own.requests, other.requests, "last_token"),
    )


def _on_the_real_engine(trial: StoredTrial) -> Scenario:
    """Return the trial's scenario with the real engine's scheduler in every client."""
    changed = {}
    for name, client in trial.scenario.llm_clients.items():
        field = f"clients.{name}.batching"
        real = BATCHING.find(client.batching, field).imitates
        if not real:
            known = ", ".join(name for name in BATCHING if BATCHING.find(name, field).imitates)
            raise InputError(
                f"{client.batching!r} follows the scheduler of no engine that could be asked "
                f"(those that do: {known})",
                field,
            )
        changed[field] = real
    return build_scenario(apply_overrides(trial.mapping, changed))


def _run(scenario: Scenario, trial: StoredTrial) -> SimulationResult:
    deployment = resolve(scenario, trial.folder)
    pipelines = tuple(scenario.pipelines)
    workload = build_workload(scenario.workload, pipelines, scenario.seed, trial.folder)
    return simulate_deployment(scenario, deployment, workload)


def _reproduced(trial: StoredTrial, own: SimulationResult) -> bool:
    row = trial.row
    return all(name not in row or _same(row[name], own.summary[name]) for name in METRICS)


def _same(stored: Number, found: Number) -> bool:
    if stored is None or found is None:
        return stored is found
    return float(stored) == float(found)


def _token_times(own: RequestColumns, real: RequestColumns, column: str) -> TokenTimes:
    apart = np.abs(getattr(own, column) - getattr(real, column))
    both = own.completed & real.completed
    largest = int(apart[both].max()) if both.any() else 0
    return TokenTimes(int(np.count_nonzero(apart)), largest / TICKS_PER_MILLISECOND)


def _facts(times: TokenTimes) -> dict[str, Any]:
    return {"requests_that_differ": times.requests, "largest_difference_ms": times.largest_ms}
