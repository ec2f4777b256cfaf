"""A replica whose layers are spread over pipeline stages, with as many batches in flight.

Follows vLLM's engine core with a batch queue: a new batch is formed whenever fewer batches than
stages are in flight and something not in flight can run; else the oldest is waited for. Sequences
that ran together come back together, so they stay together: each batch in flight has a lane of its
own. A batch passes the stages in order, waiting for each until the batch before it has left. Every
step is an event: with several batches in flight, no step leaves the next one undisturbed.

Not modelled: stages of unequal layers; the embedding and the LM head are spread like layers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from simpy import Event

from hermes.sim.block import decode_block
from hermes.sim.clock import Clock
from hermes.sim.lane import Batch
from hermes.sim.replica import Replica, ReplicaListener, ReplicaSetup

__all__ = ["PipelineShape", "PipelinedReplica"]


@dataclass(frozen=True, slots=True)
class PipelineShape:
    """Stages of a replica.

    Attributes:
        stages: How many there are.
        hop_ticks: Ticks to bring the activations of so many tokens to the next stage.
    """

    stages: int
    hop_ticks: Callable[[int], int]


@dataclass(slots=True)
class _InFlight:
    lane: int
    batch: Batch
    end: int
    longer_waits: list[tuple[int, int]]  # (tick of latest token, sequences), of some decodes


class PipelinedReplica(Replica):
    """A replica with several stages; see `Replica`.

    Args:
        env: The SimPy environment.
        index: Its number among all replicas.
        setup: What it is made of; its engine has a lane for each stage.
        listener: Hears what becomes of its sequences.
        shape: Its stages.
    """

    one_batch_at_a_time = False

    def __init__(
        self,
        env: Clock,
        index: int,
        setup: ReplicaSetup,
        listener: ReplicaListener,
        shape: PipelineShape,
    ) -> None:
        self._shape = shape
        self._stage_free = [0] * shape.stages
        self._in_flight: deque[_InFlight] = deque()
        self._last_end = [0] * shape.stages  # by lane: when its latest batch ended
        self._lane = 0  # whose batch is being formed
        super().__init__(env, index, setup, listener)

    @property
    def _stepping(self) -> bool:
        return bool(self._in_flight)

    def _step(self) -> None:
        """Send off batches as long as a stage has none, and await the oldest."""
        while len(self._in_flight) < self._shape.stages and self._launch():
            pass
        if not self._in_flight:
            self._idle = True
            return
        self._ends.set(self._in_flight[0].end - self._env.now, self._end)

    def _on_end(self, _: Event) -> None:
        """Book the batch that has left the last stage, and go on."""
        self._land(self._in_flight.popleft())
        self._go_on()

    def _launch(self) -> bool:
        """Form a batch in a free lane, one that has members first, and send it off."""
        taken = {flight.lane for flight in self._in_flight}
        free = [lane for lane in range(self._shape.stages) if lane not in taken]
        lane = next((lane for lane in free if self.engine.lanes[lane].size), free[0])
        self.engine.enter(lane)
        self.engine.in_flight = len(self._in_flight)
        self._lane = lane
        batch = self._form()
        if not batch:
            return False
        end = self._pass_stages(batch)
        self._in_flight.append(_InFlight(lane, batch, end, self._stalled))
        self._stalled = []
        if self._layerwise:
            self._announce_prompts(batch, end)
        return True

    def _drop_step(self, now: int) -> int:
        """Let the batches in flight go; see `Replica`."""
        self._in_flight.clear()
        self.engine.in_flight = 0
        self._stage_free = [now] * self._shape.stages
        return now

    def _latest_tokens(self, begun: int) -> list[int]:
        del begun
        return self._last_end

    def _may_form_nothing(self) -> bool:
        return bool(self._in_flight) or super()._may_form_nothing()

    def _latest_decode(self, now: int) -> int:
        del now
        return self._last_end[self._lane]

    def _pass_stages(self, batch: Batch) -> int:
        """Return when a batch leaves the last stage."""
        tokens = batch.decodes + sum(chunk for _, chunk in batch.prefills)
        ticks = -(-self._step_ticks(batch) // self._shape.stages)
        hop = self._shape.hop_ticks(tokens)
        at = self._env.now
        for stage, free in enumerate(self._stage_free):
            begin = max(at, free)
            self._stage_free[stage] = begin + ticks
            at = begin + ticks + hop
        self.busy_ticks += ticks
        return at - hop

    def _step_ticks(self, batch: Batch) -> int:
        engine = self.engine
        if batch.prefills:
            ticks = self._mixed_ticks(batch)
        else:
            context = engine.decoding.context
            _, _, ticks = decode_block(self.costs, batch.decodes, context, 1)
            self._note_steps((batch.decodes, context, 0, 0, 0, 1))
        if engine.moved_tokens:
            ticks += self._move_ticks(engine.moved_tokens)
            engine.moved_tokens = 0
        return ticks

    def _land(self, flight: _InFlight) -> None:
        """Book a batch that left the last stage."""
        self.engine.enter(flight.lane)
        now, batch = self._env.now, flight.batch
        self.steps += 1
        self.computed_tokens += batch.decodes + sum(chunk for _, chunk in batch.prefills)
        self._log_step(flight, now)
        self._last_end[flight.lane] = now
        self._book(batch, 1, now)

    def _log_step(self, flight: _InFlight, now: int) -> None:
        """Log the gaps of a step: most decodes had their latest token in the lane's last batch."""
        decodes, waits = flight.batch.decodes, flight.longer_waits
        if self.engine.doomed:
            decodes -= len(self._doomed_decodes())
            self._stalled = waits
            self._drop_stalled()
            self._stalled = []
        for tick, sequences in waits:
            self.gaps.add(now - tick, 0, 1, sequences)
            decodes -= sequences
        if decodes:
            self.gaps.add(now - self._last_end[flight.lane], 0, 1, decodes)
