"""What the time of a run rests on: measurements, fitted laws, or neither; by operator."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hermes.costs.provenance import ORIGINS
from hermes.costs.step import StepCost
from hermes.scenario.units import TICKS_PER_SECOND
from hermes.sim.deployment import Deployment
from hermes.sim.replica import Replica
from hermes.sim.stations.station import Station
from hermes.sim.step_log import StepLog, step_shapes

__all__ = ["DOUBTFUL", "CostOrigins", "OperatorTime", "cost_origins"]


DOUBTFUL = 0.05
"""From which doubtful share on a result is said to rest on extrapolation."""


@dataclass(frozen=True, slots=True)
class OperatorTime:
    """What an operator took in all steps of a regime, and where that is known from."""

    client: str
    regime: str
    """`decode`, `prefill` (steps with prompts in them), or `batch` (of other clients)."""
    operator: str
    origin: str
    device_seconds: float


@dataclass(frozen=True, slots=True)
class CostOrigins:
    """Where the busy time of a deployment's devices comes from."""

    times: tuple[OperatorTime, ...]

    def shares(self) -> dict[str, float]:
        """Return the share of the time with each origin; empty where nothing ran."""
        return _shares(self.times)

    @property
    def doubtful(self) -> float:
        """Share of the time that nothing measured on its device stands behind."""
        shares = self.shares()
        return shares.get("extrapolated", 0.0) + shares.get("uncalibrated", 0.0)

    def facts(self) -> dict[str, object]:
        """Return all of it by client, regime and operator, as plain data."""
        clients: dict[str, dict[str, object]] = {}
        for client in dict.fromkeys(time.client for time in self.times):
            own = [time for time in self.times if time.client == client]
            clients[client] = {
                regime: _regime([time for time in own if time.regime == regime], own)
                for regime in dict.fromkeys(time.regime for time in own)
            }
        return {"shares": self.shares(), "clients": clients}


def cost_origins(
    deployment: Deployment,
    pools: Mapping[str, Sequence[Replica]],
    stations: Mapping[str, Sequence[Station]],
) -> CostOrigins:
    """Return what the busy time of every device rests on.

    Operators share the time that replicas were busy as they share the time of a step alone, so
    that waiting for KV is no operator's. Drafting for speculation is not told apart.
    """
    times: list[OperatorTime] = []
    for client in deployment.clients:
        pool = pools[client.name]
        busy = sum(replica.busy_ticks for replica in pool) / TICKS_PER_SECOND
        logs = (replica.step_log for replica in pool)
        times += _of_steps(client.name, client.costs, logs, busy * client.devices_per_replica)
    for plan in deployment.stations:
        busy = sum(station.busy_ticks for station in stations[plan.name]) / TICKS_PER_SECOND
        if plan.device is not None and busy:
            work, devices = plan.serves[0], plan.devices_per_replica
            times.append(OperatorTime(plan.name, "batch", work, plan.origin, busy * devices))
    return CostOrigins(tuple(times))


def _of_steps(
    client: str, costs: StepCost, logs: Iterable[StepLog], busy_seconds: float
) -> list[OperatorTime]:
    found: dict[tuple[str, str, str], float] = {}
    for shape, steps in step_shapes(logs):
        for part in costs.parts(shape):
            key = (shape.regime, part.operator, part.origin)
            found[key] = found.get(key, 0.0) + steps * part.seconds
    total = math.fsum(found.values())
    return [
        OperatorTime(client, *key, busy_seconds * seconds / total)
        for key, seconds in sorted(found.items())
        if seconds > 0
    ]


def _shares(times: Sequence[OperatorTime]) -> dict[str, float]:
    total = math.fsum(time.device_seconds for time in times)
    return {
        origin: math.fsum(t.device_seconds for t in times if t.origin == origin) / total
        for origin in ORIGINS
        if total > 0
    }


def _regime(times: Sequence[OperatorTime], whole: Sequence[OperatorTime]) -> dict[str, object]:
    """Return a regime's share of its client's time, and how its operators share that."""
    operators: dict[str, dict[str, float]] = {}
    total = math.fsum(time.device_seconds for time in times)
    for time in times:
        operators.setdefault(time.operator, {})[time.origin] = time.device_seconds / total
    share = total / math.fsum(time.device_seconds for time in whole)
    return {"share": share, "operators": operators}
