"""The real scheduler in the loop: the installed vLLM decides what runs.

For confirming what a study found, not for finding it: every step asks vLLM's own v1 scheduler, so
a simulation takes as long as that does. It is exact by construction. The engine's own queue order,
block pool and choice of victims are put out of use; what is left keeps the sequences' progress,
from which durations and metrics come.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from itertools import count

from hermes.errors import InfeasibleError, InputError, SimulationError
from hermes.sim.batching.base import BATCHING, BatchingPolicy, require_budget
from hermes.sim.batching.vllm_scheduler import (
    Decision,
    VllmScheduler,
    is_vllm_installed,
    vllm_version,
)
from hermes.sim.engine import Engine
from hermes.sim.kv_cache import BlockPool, CachedBlock
from hermes.sim.lane import Batch
from hermes.sim.limits import EngineLimits
from hermes.sim.queues import QUEUE_ORDERS, QueueOrder, WaitingQueue
from hermes.sim.running import RunningList
from hermes.sim.sequence import Sequence

__all__ = ["Vllm"]


@BATCHING.register("vllm")
class Vllm(BatchingPolicy):
    """What the installed vLLM's scheduler runs; needs the extra `[vllm]`."""

    knows_tiers = False
    serves = ("generate",)
    lets_decodes_run = False

    def __init__(self) -> None:
        self._scheduler: VllmScheduler | None = None
        self._queue = _Queue()
        self._running = _Running()

    @classmethod
    def engine_version(cls) -> str:
        """Return the installed vLLM's version; see `BatchingPolicy`."""
        return f"vLLM {vllm_version()}"

    def check(self, limits: EngineLimits, order: type[QueueOrder]) -> None:
        """Refuse what vLLM is not there for, or does not do; see `BatchingPolicy`."""
        if not is_vllm_installed():
            raise InputError("'vllm' needs vLLM: install the extra, hermes-dse[vllm]", "batching")
        _policy_name(order)
        if limits.num_drafts:
            raise InfeasibleError(
                "batching 'vllm' gives vLLM's scheduler no drafts; use 'chunked'",
                "speculative_config",
            )
        if limits.swap_blocks:
            raise InfeasibleError(
                "vLLM's scheduler recomputes preempted requests; set it to 0", "swap_space_gb"
            )
        require_budget(limits)

    def form(self, engine: Engine) -> Batch:
        """Form the batch that vLLM decides on; see `BatchingPolicy`."""
        scheduler = self._scheduler or self._take_over(engine)
        scheduler.answer()
        for sequence in self._queue.take_arrivals():
            scheduler.add(sequence)
        decision = scheduler.schedule()
        for number in decision.preempted:
            self._running.choose_victim(number)
            engine.preempt_one()
        return self._batch(engine, decision)

    def _take_over(self, engine: Engine) -> VllmScheduler:
        """Make the scheduler, and put what it replaces out of use."""
        policy = _policy_name(type(engine._order))
        scheduler = self._scheduler = VllmScheduler(engine.limits, policy)
        for sequence in sorted(engine.waiting, key=lambda waiting: waiting.request_id):
            self._queue.push(sequence)
        engine.waiting = self._queue
        engine.use_pool(_MirroredPool(engine, scheduler))
        engine.use_running(self._running)
        return scheduler

    def _batch(self, engine: Engine, decision: Decision) -> Batch:
        batch, running = Batch(), self._running.members
        prefilling = {sequence.request_id for sequence in engine.prefilling}
        for number in [n for n in running if n not in prefilling and n not in decision.tokens]:
            _pause(engine, running[number])
        for number, tokens in decision.tokens.items():
            if number not in running:
                self._admit(engine, number, decision.computed[number])
                prefilling.add(number)
            if number in prefilling:
                running[number].granted = tokens
                batch.prefills.append((running[number], tokens))
            elif tokens != 1:
                raise SimulationError(f"vLLM decodes {tokens} tokens of {running[number]} at once")
        batch.decodes = engine.decoding.size
        return batch

    def _admit(self, engine: Engine, number: int, computed: int) -> None:
        self._queue.choose(number)
        sequence = self._queue.head
        engine._enter_running(sequence)
        sequence.computed = computed
        if sequence.scheduled < 0:
            sequence.reused_tokens = computed
        engine.prefilling.append(sequence)


def _policy_name(order: type[QueueOrder]) -> str:
    """Return what vLLM calls a queue order."""
    for name in ("fcfs", "priority"):
        if issubclass(order, QUEUE_ORDERS.find(name, "scheduling_policy")):
            return name
    raise InfeasibleError(
        f"vLLM has no queue order like {order.__name__} (allowed: fcfs, priority)",
        "scheduling_policy",
    )


def _pause(engine: Engine, sequence: Sequence) -> None:
    """Take a sequence out of the decodes for this step; it goes on as a prompt of one token."""
    if sequence.join_step != engine.decoding.step:
        sequence.last_token = -1  # at the group's latest step, which the replica knows
    engine.interrupted.append(sequence)
    engine.preempted.append(sequence)  # for the replica to look; nothing was taken from it
    engine.decoding.leave(sequence)
    engine._running.append(sequence)  # a new ticket: its place among the decodes dies with the old
    sequence.target = sequence.computed + 1
    engine.prefilling.append(sequence)


class _Queue(WaitingQueue):
    """The waiting sequences; which of them is the head is vLLM's to say."""

    def __init__(self) -> None:
        self._members: dict[int, Sequence] = {}
        self._arrived: list[Sequence] = []
        self._chosen = -1

    @property
    def head(self) -> Sequence:
        """The chosen sequence, or the one queued first."""
        return self._members.get(self._chosen) or next(iter(self._members.values()))

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Sequence]:
        return iter(self._members.values())

    def push(self, sequence: Sequence) -> None:
        """Add a sequence that arrived."""
        self._members[sequence.request_id] = sequence
        self._arrived.append(sequence)

    def push_back(self, sequence: Sequence) -> None:
        """Add a sequence that was preempted, which vLLM knows."""
        self._members[sequence.request_id] = sequence

    def pop_head(self) -> Sequence:
        """Remove and return the head."""
        return self._members.pop(self.head.request_id)

    def remove(self, sequence: Sequence) -> None:
        """Refuse: vLLM's scheduler is not told of aborts."""
        raise SimulationError(f"batching 'vllm' cannot abort {sequence}")

    def choose(self, number: int) -> None:
        """Make a waiting sequence the head."""
        self._chosen = number

    def take_arrivals(self) -> list[Sequence]:
        """Return those that arrived since this was last asked, in order."""
        arrived, self._arrived = self._arrived, []
        return arrived


class _Running(RunningList):
    """The running sequences; which of them gives way is vLLM's to say."""

    def __init__(self) -> None:
        super().__init__(ranked=False, tickets=count())
        self.members: dict[int, Sequence] = {}
        self._victim = -1

    def append(self, sequence: Sequence) -> None:
        """Add a sequence just admitted; see `RunningList`."""
        super().append(sequence)
        self.members[sequence.request_id] = sequence

    def choose_victim(self, number: int) -> None:
        """Say who gives way next."""
        self._victim = number

    def pop_victim(self) -> Sequence:
        """Remove and return the chosen sequence."""
        return self.members.pop(self._victim)

    def tidy(self, alive: int) -> None:
        """Drop those that are done; see `RunningList`."""
        super().tidy(alive)
        if len(self.members) > alive:
            self.members = {n: s for n, s in self.members.items() if s.ticket >= 0}


class _MirroredPool(BlockPool):
    """vLLM's block pool, seen from the engine, which has no say in it."""

    accounts = False

    def __init__(self, engine: Engine, scheduler: VllmScheduler) -> None:
        super().__init__(engine.limits.num_blocks, caching=False)
        self._engine = engine
        self._scheduler = scheduler

    @property
    def free(self) -> int:
        """Blocks that can be taken."""
        if not self._engine.has_work:
            self._scheduler.answer()  # nobody will ask for another batch
        return self._scheduler.free_blocks

    def take(self, blocks: int) -> None:
        """Do nothing: vLLM has taken them."""

    def give_back(self, blocks: int) -> None:
        """Do nothing: vLLM frees them."""

    def retire(self, blocks: int) -> None:
        """Do nothing: vLLM frees them."""

    def hold(self, blocks: Iterable[CachedBlock]) -> None:
        """Do nothing: vLLM holds them."""

    def release(self, blocks: Iterable[CachedBlock]) -> None:
        """Do nothing: vLLM frees them."""

    def find(self, keys: Iterable[Hashable]) -> list[CachedBlock]:
        """Return nothing: vLLM looks for itself."""
        del keys
        return []
