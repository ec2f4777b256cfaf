"""The gate of a route: which replicas take a request now, and who waits while none is up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hermes.sim.clock import Clock
from hermes.sim.operations.plan import OperationsPlan
from hermes.sim.pipelines.signal import Signal
from hermes.sim.pipelines.walk import Failed, Rejected
from hermes.sim.replica import Replica
from hermes.sim.sequence import Sequence as Call

__all__ = ["DEADLINE_PASSED", "NO_REPLICA_UP", "QUEUE_FULL", "Gate", "Pool"]

QUEUE_FULL = "queue_full"
DEADLINE_PASSED = "deadline_passed"
NO_REPLICA_UP = "no_replica_up"


@dataclass(frozen=True, slots=True)
class Pool:
    """The replicas of a client, and how it is operated."""

    plan: OperationsPlan
    replicas: tuple[Replica, ...]

    @property
    def is_full(self) -> bool:
        """Whether as many wait at all replicas together as may."""
        most = self.plan.max_pool_queue
        if most is None:
            return False
        up = [replica for replica in self.replicas if replica.accepting]
        places = sum(replica.engine.limits.max_num_seqs for replica in up)
        return sum(replica.outstanding_requests() for replica in up) >= places + most

    def has_room(self, replica: Replica, prompt_tokens: int, now: int) -> bool:
        """Whether one more may wait at a replica, or would not have to.

        Those do not wait that have a place and KV blocks at the next step.
        """
        most, engine = self.plan.max_queue, replica.engine
        if most is None:
            return True
        limits, waiting = engine.limits, len(engine.waiting)
        places = limits.max_num_seqs - engine.num_running
        free = limits.num_blocks + engine.queued_blocks - replica.committed_blocks(now)
        for call in engine.waiting:
            free -= limits.blocks_for(call.target)
            if not places or free < 0:
                return waiting < most
            places -= 1
            waiting -= 1
        return (places > 0 and limits.blocks_for(prompt_tokens) <= free) or waiting < most


class Gate:
    """What a route asks before its policy chooses.

    Args:
        env: The SimPy environment.
        pools: By number of their replicas; those of clients without a plan are missing.
        replicas: All replicas of the route.
    """

    def __init__(self, env: Clock, pools: Mapping[int, Pool], replicas: Sequence[Replica]) -> None:
        self._env = env
        self._pools = pools
        self._held: dict[Signal, bool] = {}  # in order; whether it had begun elsewhere
        plans = [pools[r.index].plan if r.index in pools else None for r in replicas]
        timeouts = [plan.timeout if plan else None for plan in plans]
        finite = [ticks for ticks in timeouts if ticks is not None]
        self._timeout = max(finite) if len(finite) == len(timeouts) else None
        self._most_held = _most_held(plans, replicas)

    def takers(
        self, replicas: Sequence[Replica], prompt_tokens: int, now: int
    ) -> tuple[Sequence[Replica], str]:
        """Return those of the replicas that take a request, or why none does.

        The reason is empty where none is up, and the request may wait for one.
        """
        if not replicas:
            most = self._most_held
            return (), QUEUE_FULL if most is not None and len(self._held) >= most else ""
        full = {id(pool) for pool in self._pools_of(replicas) if pool.is_full}
        free = [
            replica
            for replica in replicas
            if (pool := self._pools.get(replica.index)) is None
            or (id(pool) not in full and pool.has_room(replica, prompt_tokens, now))
        ]
        return free, QUEUE_FULL

    def _pools_of(self, replicas: Sequence[Replica]) -> list[Pool]:
        found = {id(pool): pool for r in replicas if (pool := self._pools.get(r.index))}
        return list(found.values())

    def plan(self, replica: Replica) -> OperationsPlan | None:
        """Return how the client of a replica is operated."""
        pool = self._pools.get(replica.index)
        return None if pool is None else pool.plan

    # -- deadlines ------------------------------------------------------------------------------

    def watch(self, replica: Replica, call: Call, since: int) -> None:
        """Drop a call at its deadline, unless it has begun by then."""
        plan = self.plan(replica)
        if plan is None or plan.timeout is None or call.scheduled >= 0:
            return
        expired = self._env.timeout(max(0, since + plan.timeout - self._env.now))
        expired.callbacks.append(lambda _: self._expire(replica, call))

    def _expire(self, replica: Replica, call: Call) -> None:
        if call.scheduled < 0 and call.done is not None and replica.withdraw(call):
            call.done.give(Rejected(DEADLINE_PASSED))

    # -- while none is up -----------------------------------------------------------------------

    def hold(self, since: int, begun: bool) -> Signal:
        """Return what a call waits for that nobody can take: nothing, or an exception."""
        signal = Signal()
        self._held[signal] = begun
        if self._timeout is not None and not begun:
            expired = self._env.timeout(max(0, since + self._timeout - self._env.now))
            expired.callbacks.append(lambda _: self._let_go(signal))
        return signal

    @property
    def held(self) -> int:
        """Calls that wait for a replica to come up."""
        return len(self._held)

    def _let_go(self, signal: Signal) -> None:
        if signal in self._held:
            del self._held[signal]
            signal.give(Rejected(DEADLINE_PASSED))

    def reopen(self) -> None:
        """Let those who wait try again, in order: a replica is up."""
        held, self._held = self._held, {}
        for signal in held:
            signal.give()

    def give_up(self) -> bool:
        """Send away those who wait, for nobody will ever be up; return whether anybody did."""
        held, self._held = self._held, {}
        for signal, begun in held.items():
            signal.give((Failed if begun else Rejected)(NO_REPLICA_UP))
        return bool(held)


def _most_held(plans: Sequence[OperationsPlan | None], replicas: Sequence[Replica]) -> int | None:
    """Return how many may wait while no replica is up."""
    bounds = []
    for plan in plans:
        if plan is None:
            return None
        if plan.max_pool_queue is not None:
            bounds.append(plan.max_pool_queue)
        elif plan.max_queue is not None:
            bounds.append(plan.max_queue * len(replicas))
        else:
            return None
    return max(bounds)
