"""A replica that serves LoRA adapters: steps wait for adapters, and compute them.

Adapters that a step needs and that are not in the slots are loaded before it computes, as vLLM's
worker does: it copies them one after the other over the link of the host, and reads those first
that are not in host memory either. That is part of the step's time.
"""

from __future__ import annotations

from hermes.errors import SimulationError
from hermes.sim.block import Block, one_step
from hermes.sim.clock import Clock
from hermes.sim.lane import Batch
from hermes.sim.lora.engine import LoraEngine
from hermes.sim.lora.memory import AdapterSight
from hermes.sim.lora.plan import LoraPlan
from hermes.sim.replica import Replica, ReplicaListener, ReplicaSetup

__all__ = ["LoraReplica"]


class LoraReplica(Replica):
    """One engine instance with adapters, and the process that steps it; see `Replica`.

    Args:
        env: The SimPy environment.
        index: Its number among all replicas.
        setup: What it is made of; its engine is a `LoraEngine`.
        listener: Hears what becomes of its sequences.
        plan: What adapters cost.
    """

    def __init__(
        self,
        env: Clock,
        index: int,
        setup: ReplicaSetup,
        listener: ReplicaListener,
        plan: LoraPlan,
    ) -> None:
        super().__init__(env, index, setup, listener)
        self._plan = plan
        self._load_ticks = 0  # of the step just formed
        self._overheads: dict[tuple[int, int], int] = {}  # by tokens and adapters

    @property
    def _with_adapters(self) -> LoraEngine:
        if not isinstance(self.engine, LoraEngine):
            raise SimulationError("a replica with adapters needs an engine that knows them")
        return self.engine

    @property
    def adapter_loads(self) -> int:
        """Times an adapter was copied to the devices."""
        return self._with_adapters.adapters.loads

    def adapter_sight(self) -> AdapterSight:
        """Return what a router sees of its adapters; see `Replica`."""
        return self._with_adapters.sight()

    def _form(self) -> Batch:
        batch = super()._form()
        if batch:
            self._load_ticks = self._plan.load_ticks(self._with_adapters.use_adapters())
        return batch

    def _durations(self, batch: Batch) -> Block:
        runs, steps, ticks = super()._durations(batch)
        more = self._overhead(batch)
        if more:
            runs = tuple((count, first + more, delta) for count, first, delta in runs)
            ticks += steps * more
        if not self._load_ticks:
            return runs, steps, ticks
        if steps > 1:
            raise SimulationError("a step that loads adapters is no part of a longer block")
        ticks += self._load_ticks
        self._load_ticks = 0
        return one_step(ticks)

    def _overhead(self, batch: Batch) -> int:
        """Return the ticks that adapters add to every step of a batch."""
        key = self._with_adapters.tokens_with_adapters(batch)
        ticks = self._overheads.get(key)
        if ticks is None:
            ticks = self._overheads[key] = self._plan.step_ticks(*key)
        return ticks
