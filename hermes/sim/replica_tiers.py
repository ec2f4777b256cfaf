"""What a replica does with its KV memory tiers: loads, waits for layers, writes back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Iterable

from simpy import Event

from hermes.errors import SimulationError
from hermes.sim.clock import Clock, Timer, end_priority
from hermes.sim.engine import Engine
from hermes.sim.replica_load import ReplicaLoad
from hermes.sim.sequence import Sequence
from hermes.sim.tiers.connector import KvConnector
from hermes.sim.tiers.engine import TieredEngine

__all__ = ["ReplicaTiers"]


class ReplicaTiers(ReplicaLoad):
    """The side of a replica that faces its tiers, if it has any.

    Args:
        env: The clock.
        index: Its number among all replicas.
        engine: The scheduler state.
    """

    def __init__(self, env: Clock, index: int, engine: Engine) -> None:
        super().__init__(env, engine)
        self.index = index
        self._end = end_priority(index)
        self._ends = Timer(env, self._on_end)  # the block under way
        self._tiers: KvConnector | None = None
        self._awaits_layers = False
        self._computed_ticks = -1  # of a step that may have to wait for layers
        self._held_ticks = -1  # of one that knows how long

    @abstractmethod
    def _on_end(self, _: Event) -> None:
        """Book the block that has ended, and go on."""

    @abstractmethod
    def disturb(self) -> None:
        """Look at the queue again."""

    def warm_tiers(self, prompts: Iterable[tuple[Hashable, ...]]) -> None:
        """Let the memory tiers hold the blocks of earlier prompts, where there are any."""
        if self._tiers is not None:
            self._tiers.warm(prompts)

    def connect(self, connector: KvConnector) -> None:
        """Let its engine find KV in tiers; before time starts."""
        if not isinstance(self.engine, TieredEngine):
            raise SimulationError("a replica with tiers needs an engine that knows them")
        self._tiers = connector
        self.engine.source = connector
        connector.listen(self._loaded)
        if connector.use.write_back == "evict":
            self.engine.pool.evicted = []

    def _loaded(self, sequence: Sequence) -> None:
        """Hear that a sequence's KV has come from the tiers."""
        if self._awaits_layers:
            self._awaits_layers = False
            self._ends.set(0, self._end)
        elif isinstance(self.engine, TieredEngine) and not self.engine.layerwise:
            self.engine.loaded(sequence)
            self.disturb()

    def _forget_loads(self) -> None:
        """Wait for no layers any more: the step that needed them is lost."""
        if self._tiers is not None:
            self._tiers.loads.clear()
        self._awaits_layers = False
        self._computed_ticks = self._held_ticks = -1

    def _layers_have_come(self, tiers: KvConnector) -> bool:
        """Whether the layers that a computed step needed had come in time; waits where not."""
        if not (tiers.loads or self._held_ticks >= 0):
            return True
        now = self._env.now
        if self._computed_ticks < 0:
            self._computed_ticks = now - self._block_start
        ticks = (
            self._held_ticks if self._held_ticks >= 0 else tiers.step_ticks(self._computed_ticks)
        )
        if ticks is None:
            self._awaits_layers = True
            return False
        if self._block_start + ticks > now:
            self._held_ticks = ticks
            self._ends.set(self._block_start + ticks - now, self._end)
            return False
        tiers.end_step(ticks - self._computed_ticks)
        self._computed_ticks = self._held_ticks = -1
        return True

    def _write_back(self, tiers: KvConnector, finished: list[Sequence]) -> None:
        """Write the KV of sequences that are done here."""
        for sequence in [*finished, *self.engine.handed]:
            tiers.finished(sequence)
        self._write_evicted()

    def _write_evicted(self) -> None:
        """Write the blocks that the device has given up."""
        evicted = self.engine.pool.evicted
        if evicted and self._tiers is not None:
            self._tiers.evicted(evicted)
            evicted.clear()
