"""Tiers brought to life: instances made, replicas connected."""

from __future__ import annotations

from collections.abc import Iterable

from hermes.sim.clock import Clock
from hermes.sim.network import FlowNetwork
from hermes.sim.replica import Replica
from hermes.sim.tiers.connector import KvConnector
from hermes.sim.tiers.instance import TierInstance
from hermes.sim.tiers.plan import TierPlans

__all__ = ["connect_tiers"]


def connect_tiers(
    env: Clock, network: FlowNetwork, plans: TierPlans, replicas: Iterable[Replica]
) -> tuple[TierInstance, ...]:
    """Make the instances of all tiers, and connect the replicas that use any."""
    instances = tuple(TierInstance(plan) for plan in plans.instances)
    for replica in replicas:
        use = plans.uses[replica.index] if plans.uses else None
        if use is None:
            continue
        chunk = replica.engine.limits.max_num_batched_tokens
        ways = plans.ways[replica.index]
        replica.connect(KvConnector(env, network, instances, ways, use, replica.costs, chunk))
    return instances
