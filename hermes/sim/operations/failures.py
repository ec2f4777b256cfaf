"""Outages of the replicas of one client: at random, by a schedule, in a rolling upgrade."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

from simpy import Event

from hermes.scenario.units import seconds_to_ticks
from hermes.sim.clock import Clock
from hermes.sim.operations.instance import Instance, State
from hermes.sim.operations.plan import FailurePlan, OutagePlan, UpgradePlan
from hermes.sim.operations.watch import Watch
from hermes.workload.streams import stream

__all__ = ["start_failures"]

_Steps = Generator[Event, Any, None]


def start_failures(
    env: Clock,
    plan: FailurePlan,
    instances: Sequence[Instance],
    seed: int,
    client: str,
    watch: Watch,
) -> None:
    """Let the replicas of a client fail.

    Args:
        env: The SimPy environment.
        plan: How they do.
        instances: The replicas, in order.
        seed: Of the scenario; each replica has a random stream of its own.
        client: Name of the client.
        watch: Says whether anything is left that could suffer.
    """
    for outage in plan.outages:
        env.process(_planned(env, instances[outage.replica], outage))
    if plan.upgrade is not None:
        env.process(_upgrade(env, instances, plan.upgrade))
    if plan.mtbf_s is not None:
        for number, instance in enumerate(instances):
            draws = stream(seed, "failures", client, str(number))
            env.process(_random(instance, plan, draws.exponential, watch))


def _planned(env: Clock, instance: Instance, outage: OutagePlan) -> _Steps:
    yield env.timeout(outage.at)
    yield from instance.outage(outage.notice, outage.down)


def _upgrade(env: Clock, instances: Sequence[Instance], plan: UpgradePlan) -> _Steps:
    """Take down one replica after the other, each when the one before it is back."""
    yield env.timeout(plan.at)
    for instance in instances:
        if instance.state is State.UP:
            yield from instance.outage(plan.notice, plan.down)


def _random(
    instance: Instance,
    plan: FailurePlan,
    exponential: Callable[[float], float],
    watch: Watch,
) -> _Steps:
    """Fail after exponential times.

    A failure that finds the replica not up passes by, which leaves the time that it is up until
    the next one exponential.
    """
    while not watch.over and (watch.scalers or watch.anything_else):
        yield from watch.sleep(seconds_to_ticks(exponential(plan.mtbf_s or 0.0)))
        repair = seconds_to_ticks(exponential(plan.mttr_s))
        if not watch.over:
            yield from instance.outage(plan.notice, repair)
