"""An engine whose sequences use LoRA adapters; see `queue` for who is admitted."""

from __future__ import annotations

from hermes.sim.engine import Engine
from hermes.sim.lane import Batch
from hermes.sim.limits import EngineLimits
from hermes.sim.lora.memory import AdapterMemory, AdapterSight, Loads
from hermes.sim.lora.queue import AdapterQueue, RunningAdapters
from hermes.sim.queues import QueueOrder, WaitingQueue
from hermes.sim.sequence import Sequence

__all__ = ["LoraEngine"]


class LoraEngine(Engine):
    """One replica's scheduler, with adapters; see `Engine`.

    Args:
        limits: See `Engine`.
        order: See `Engine`.
        max_loras: Most adapters among the running sequences.
        max_cpu_loras: Most adapters in host memory.
    """

    __slots__ = ("_queue", "_slots", "adapters", "running_adapters")

    def __init__(
        self, limits: EngineLimits, order: QueueOrder, max_loras: int, max_cpu_loras: int
    ) -> None:
        super().__init__(limits, order)
        self._slots = max_loras
        self.running_adapters = RunningAdapters(max_loras, limits.max_num_seqs)
        self.adapters = AdapterMemory(max_loras, max_cpu_loras)
        self.waiting: WaitingQueue
        self.waiting = self._queue = AdapterQueue(order.ranked, self.running_adapters)

    def could_admit(self, sequence: Sequence) -> bool:
        """Whether there is a place for the head of the queue; see `SchedulerState`."""
        return self._queue.fits and super().could_admit(sequence)

    def tokens_left(self) -> int:
        """Return the tokens of the first that fits; 0 where none does."""
        return super().tokens_left() if self._queue.fits else 0

    def admit(self, budget: int) -> tuple[Sequence, int] | None:
        """Admit the first sequence whose adapter fits; see `Engine`."""
        if not self._queue.fits:
            return None
        admitted = super().admit(budget)
        if admitted is not None:
            self.running_adapters.add(admitted[0])
        return admitted

    def lose_others(self) -> list[Sequence]:
        """Take everything from the sequences that do not run; adapters go too; see `Engine`."""
        lost = super().lose_others()
        self.adapters.forget()
        return lost

    def use_adapters(self) -> Loads:
        """Bring the adapters of all running sequences, as the step just formed needs them."""
        return self.adapters.use(self.running_adapters.adapters())

    def tokens_with_adapters(self, batch: Batch) -> tuple[int, int]:
        """Return the tokens of a step whose sequences use adapters, and how many different."""
        used: dict[int, int] = {}
        for sequence, tokens in batch.prefills:
            used[sequence.adapter] = used.get(sequence.adapter, 0) + tokens
        if batch.decodes:
            for sequence in self.decoding.sequences():
                used[sequence.adapter] = used.get(sequence.adapter, 0) + 1
        used.pop(-1, None)
        return sum(used.values()), len(used)

    def sight(self) -> AdapterSight:
        """Return what a router sees of the adapters."""
        waiting = self._queue.adapters()
        return AdapterSight(
            frozenset(self.adapters.resident),
            frozenset((*waiting, *self.running_adapters.adapters())),
            frozenset(waiting),
            self._slots,
        )
