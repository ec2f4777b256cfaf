"""Energy of a simulated fleet: what each client's devices drew, busy and idle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hermes.costs.energy import PoolWork, joules
from hermes.metrics import RequestColumns
from hermes.scenario.units import TICKS_PER_SECOND
from hermes.sim.deployment import Deployment
from hermes.sim.replica import Replica

__all__ = ["fleet_joules"]


def fleet_joules(
    deployment: Deployment, pools: Mapping[str, Sequence[Replica]], requests: RequestColumns
) -> float | None:
    """Return the energy of all devices, first arrival to last token; None without a TDP."""
    done = requests.completed
    if not done.any():
        return None
    seconds = int(requests.last_token.max() - requests.arrival[0]) / TICKS_PER_SECOND
    total = 0.0
    for client in deployment.clients:
        pool = pools[client.name]
        energy = joules(
            PoolWork(
                model=client.model,
                device=client.device,
                dtype=client.dtype,
                tensor_parallel_size=client.tensor_parallel_size,
                replicas=len(pool),
                seconds=seconds,
                busy_seconds=sum(replica.busy_ticks for replica in pool) / TICKS_PER_SECOND,
                tokens=sum(replica.computed_tokens for replica in pool),
            )
        )
        if energy is None:
            return None
        total += energy
    return total
