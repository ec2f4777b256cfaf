"""Energy of a replica's devices, from what they computed and how long they were busy.

    power = TDP * (idle + busy * (share of time) + compute * (share of peak arithmetic))

The factors are fitted on measured average power (`benchmarks/fit_power.py`), to 11 % (median);
on the device left out to 9 % (A100) and 13 % (H100). The share of memory bandwidth explains
nothing beyond these. Idle power is recalled from data sheets and idle readings, not fitted. What a
device draws is never more than its TDP. Hosts, networks and cooling are not counted.
"""

from __future__ import annotations

from dataclasses import dataclass

from hermes.catalog import Device, Model
from hermes.costs.chip import Chip

__all__ = ["BUSY", "COMPUTE", "IDLE", "PoolWork", "compute_share", "joules", "power_share"]

IDLE = 0.15
BUSY = 0.446
COMPUTE = 1.298


@dataclass(frozen=True, slots=True)
class PoolWork:
    """What the replicas of a pool did, together."""

    model: Model
    device: Device
    dtype: str
    tensor_parallel_size: int
    replicas: int
    seconds: float
    """Of the whole run."""
    busy_seconds: float
    """That replicas computed, summed over them."""
    tokens: int
    """Of prompts and outputs that passed the model."""


def compute_share(work: PoolWork) -> float:
    """Return the share of its peak arithmetic that a busy device did, on average."""
    if work.busy_seconds <= 0:
        return 0.0
    model = work.model
    weights = model.active_parameters - model.embedding_parameters
    flops = 2.0 * weights * work.tokens / work.tensor_parallel_size
    return min(1.0, flops * Chip(work.device).flop(work.dtype) / work.busy_seconds)


def power_share(compute: float) -> float:
    """Return the power of a busy device as a share of its TDP."""
    return min(1.0, IDLE + BUSY + COMPUTE * compute)


def joules(work: PoolWork) -> float | None:
    """Return the energy of a pool's devices over a run; None where the device has no TDP."""
    power = work.device.power_w
    if power is None:
        return None
    idle = max(0.0, work.seconds * work.replicas - work.busy_seconds)
    busy = work.busy_seconds * power_share(compute_share(work))
    return power * work.tensor_parallel_size * (busy + IDLE * idle)
