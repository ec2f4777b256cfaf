"""Energy of a simulated fleet: what each client's devices drew, busy and idle."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from hermes.costs.energy import IDLE, PoolWork, joules, power_share
from hermes.metrics import RequestColumns
from hermes.scenario.scenario import Scenario
from hermes.scenario.units import JOULES_PER_KWH, TICKS_PER_SECOND
from hermes.sim.deployment import Deployment
from hermes.sim.replica import Replica
from hermes.sim.stations.plan import StationPlan
from hermes.sim.stations.station import Station

__all__ = ["fleet_co2_grams", "fleet_joules"]


def fleet_joules(
    deployment: Deployment,
    pools: Mapping[str, Sequence[Replica]],
    stations: Mapping[str, Sequence[Station]],
    requests: RequestColumns,
    replica_seconds: Mapping[str, float] | None = None,
) -> dict[str, float] | None:
    """Return the energy of each client's devices, first arrival to last end; None without a TDP.

    Args:
        deployment: The clients.
        pools: Their replicas.
        stations: The other clients' servers.
        requests: What became of the requests.
        replica_seconds: By client, how long its replicas were there, together; those not named
            were there all the time.
    """
    done = requests.completed
    if not done.any():
        return None
    seconds = int(requests.finished.max() - requests.arrival[0]) / TICKS_PER_SECOND
    found: dict[str, float] = {}
    for client in deployment.clients:
        pool = pools[client.name]
        there = (replica_seconds or {}).get(client.name)
        energy = joules(
            PoolWork(
                model=client.model,
                device=client.device,
                dtype=client.dtype,
                tensor_parallel_size=client.tensor_parallel_size,
                replicas=len(pool) if there is None else 1,
                seconds=seconds if there is None else there,
                busy_seconds=sum(replica.busy_ticks for replica in pool) / TICKS_PER_SECOND,
                tokens=sum(replica.computed_tokens for replica in pool),
            )
        )
        if energy is None:
            return None
        found[client.name] = energy
    shared = _stations_joules(deployment.stations, stations, seconds)
    return None if shared is None else found | shared


def fleet_co2_grams(joules_by_client: Mapping[str, float], scenario: Scenario) -> float | None:
    """Return the carbon of the energy of a run; None where the intensity of some of it is unknown.

    Only what devices draw while they serve: neither their making nor cooling.
    """
    grams = []
    for name, energy in joules_by_client.items():
        own = getattr(scenario.clients.get(name), "grid_g_co2_per_kwh", None)
        intensity = scenario.grid_g_co2_per_kwh if own is None else own
        if intensity is None:
            return None
        grams.append(energy / JOULES_PER_KWH * intensity)
    return math.fsum(grams)


def _stations_joules(
    plans: Sequence[StationPlan], stations: Mapping[str, Sequence[Station]], seconds: float
) -> dict[str, float] | None:
    """Return the energy of the devices of stations, and of those on them.

    Their busy power is that of a language model that is bound by memory: nothing measured is known
    of embedding or search.
    """
    found: dict[str, float] = {}
    for plan in plans:
        if not plan.devices or plan.device is None:
            continue
        if plan.device.power_w is None:
            return None
        there = [plan.name, *(other.name for other in plans if other.on == plan.name)]
        ticks = sum(station.busy_ticks for name in there for station in stations[name])
        busy = ticks / TICKS_PER_SECOND * plan.devices_per_replica
        idle = max(0.0, seconds * plan.devices - busy)
        found[plan.name] = plan.device.power_w * (busy * power_share(0.0) + IDLE * idle)
    return found
