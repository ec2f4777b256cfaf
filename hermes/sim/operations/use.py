"""What the replicas of a deployment did and cost, where some are not there all the time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from hermes.metrics import FleetUse, RequestColumns
from hermes.scenario.scenario import Scenario
from hermes.scenario.units import TICKS_PER_SECOND
from hermes.sim.deployment import Deployment
from hermes.sim.energy import fleet_co2_grams, fleet_joules
from hermes.sim.operations.instance import Instance
from hermes.sim.operations.uptime import Use
from hermes.sim.replica import Replica
from hermes.sim.stations.station import Station

__all__ = ["fleet_use"]

Pools = Mapping[str, Sequence[Replica]]


def fleet_use(
    scenario: Scenario,
    deployment: Deployment,
    pools: Pools,
    stations: Mapping[str, Sequence[Station]],
    instances: Mapping[str, Sequence[Instance]],
    requests: RequestColumns,
) -> FleetUse:
    """Return what the replicas did from the first arrival to the last end.

    Args:
        scenario: Gives the carbon intensity of the grid.
        deployment: The clients.
        pools: Their replicas.
        stations: The other clients' servers.
        instances: By client, the replicas that come and go.
        requests: What became of the requests.
    """
    replicas = [replica for pool in pools.values() for replica in pool]
    uses = _uses(instances, requests)
    seconds = {name: sum(u.paid for u in used) / TICKS_PER_SECOND for name, used in uses.items()}
    energy = fleet_joules(deployment, pools, stations, requests, seconds)
    use = FleetUse(
        devices=deployment.devices,
        usd_per_hour=deployment.usd_per_hour,
        replicas=len(replicas),
        steps=sum(replica.steps for replica in replicas),
        busy_ticks=sum(replica.busy_ticks for replica in replicas),
        joules=None if energy is None else math.fsum(energy.values()),
        co2_grams=None if energy is None else fleet_co2_grams(energy, scenario),
        adapter_loads=_adapter_loads(deployment, pools),
    )
    return _averaged(use, deployment, uses, requests) if uses else use


def _adapter_loads(deployment: Deployment, pools: Pools) -> int | None:
    serving = [client.name for client in deployment.clients if client.lora is not None]
    if not serving:
        return None
    return sum(replica.adapter_loads for name in serving for replica in pools[name])


def _uses(
    instances: Mapping[str, Sequence[Instance]], requests: RequestColumns
) -> dict[str, list[Use]]:
    """Return, by client, what its replicas were in the time that is reported on."""
    if not requests.completed.any():
        return {}
    begin, end = int(requests.arrival[0]), int(requests.finished.max())
    if begin == end:
        return {}
    return {
        name: [instance.uptime.within(begin, end) for instance in pool]
        for name, pool in instances.items()
    }


def _averaged(
    use: FleetUse,
    deployment: Deployment,
    uses: Mapping[str, Sequence[Use]],
    requests: RequestColumns,
) -> FleetUse:
    """Return the same with what was there on average for what there could be."""
    ticks = int(requests.finished.max() - requests.arrival[0])
    devices, replicas, price = float(use.devices), float(use.replicas), use.usd_per_hour
    wanted = serving = 0
    for client in deployment.clients:
        used = uses.get(client.name)
        if used is None:
            wanted += ticks * client.replicas
            serving += ticks * client.replicas
            continue
        missing = client.replicas - sum(u.paid for u in used) / ticks
        replicas -= missing
        devices -= missing * client.devices_per_replica
        if price is not None and client.usd_per_device_hour is not None:
            price -= missing * client.devices_per_replica * client.usd_per_device_hour
        wanted += sum(u.wanted for u in used)
        serving += sum(u.serving for u in used)
    return replace(
        use,
        devices=devices,
        usd_per_hour=price,
        replicas=replicas,
        # What was computed for requests that were lost may go on after the last end.
        busy_ticks=min(use.busy_ticks, int(replicas * ticks)),
        availability=serving / wanted if wanted else 1.0,
    )
