"""An autoscaler: looks at the load now and then, starts replicas, and takes them away.

There should be as many replicas as the load of all, divided by the load aimed at for one, rounded
up: what Kubernetes' horizontal autoscaler asks for. More are started at once; fewer only after a
cooldown. Replicas that start up count as if they were there, those that are down do not.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from math import ceil
from typing import Any

from simpy import Event

from hermes.sim.clock import Clock
from hermes.sim.operations.gate import Gate
from hermes.sim.operations.instance import Instance, State
from hermes.sim.operations.plan import AutoscalePlan
from hermes.sim.operations.watch import Watch
from hermes.sim.replica import Replica

__all__ = ["Autoscaler"]


class Autoscaler:
    """Starts and takes away the replicas of a client.

    Args:
        env: The SimPy environment.
        plan: What it goes by.
        instances: The replicas that there could be, in order.
        gates: Where requests wait while none is up.
        watch: Says whether anything is left that needs replicas.
    """

    def __init__(
        self,
        env: Clock,
        plan: AutoscalePlan,
        instances: Sequence[Instance],
        gates: Sequence[Gate],
        watch: Watch,
    ) -> None:
        self._env = env
        self._plan = plan
        self._instances = instances
        self._gates = gates
        self._watch = watch
        self._busy = [0] * len(instances)  # ticks computed, at the latest look
        self._changed = -plan.cooldown

    def run(self) -> Generator[Event, Any, None]:
        """Look, and act, again and again."""
        watch = self._watch
        watch.scalers += 1
        while not watch.over:
            yield from watch.sleep(self._plan.interval)
            if watch.over or not (self._look() or watch.anything_else):
                break
        watch.scalers -= 1

    def _look(self) -> bool:
        """Start replicas or take some away, or neither; return whether any is started."""
        plan, now = self._plan, self._env.now
        wanted = min(plan.most, max(plan.least, ceil(self._load(now) / plan.target)))
        there = [instance for instance in self._instances if instance.is_coming]
        if wanted > len(there):
            off = [instance for instance in self._instances if instance.state is State.OFF]
            for instance in off[: wanted - len(there)]:
                self._env.process(instance.start())
                self._changed = now
            return bool(off)
        if wanted < len(there) and now - self._changed >= plan.cooldown:
            up = [instance for instance in there if instance.state is State.UP]
            up.sort(key=lambda i: (i.replica.outstanding_requests(), -i.replica.index))
            for instance in up[: len(there) - wanted]:
                self._env.process(instance.retire())
                self._changed = now
        return False

    def _load(self, now: int) -> float:
        """Return the load of all replicas that take requests."""
        held = sum(gate.held for gate in self._gates)
        total = float(held if self._plan.signal in {"requests", "queue"} else min(held, 1))
        for number, instance in enumerate(self._instances):
            busy = instance.replica.busy_until(now)
            if instance.state is State.UP:
                total += self._load_of(instance.replica, now, busy - self._busy[number])
            self._busy[number] = busy
        return total

    def _load_of(self, replica: Replica, now: int, busy: int) -> float:
        engine = replica.engine
        match self._plan.signal:
            case "requests":
                return replica.outstanding_requests()
            case "queue":
                return len(engine.waiting)
            case "kv":
                return replica.committed_blocks(now) / engine.limits.num_blocks
            case "utilization":
                return busy / self._plan.interval
