"""How much a replica has to do, as routers ask: exact, however its steps are grouped."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from hermes.sim.block import steps_reaching
from hermes.sim.clock import Clock
from hermes.sim.engine import Engine
from hermes.sim.gap_log import GapLog
from hermes.sim.lora.memory import AdapterSight

__all__ = ["ReplicaLoad"]


class ReplicaLoad(GapLog):
    """What others see of a replica; see `GapLog` for its arguments."""

    def __init__(self, env: Clock, engine: Engine) -> None:
        super().__init__(env, engine)
        self._block_decodes = False  # the block under way holds a step of the decodes
        self._early_blocks = 0  # that were taken for the block under way before it ends

    @property
    def adapter_loads(self) -> int:
        """Times an adapter was copied to the devices."""
        return 0

    def adapter_sight(self) -> AdapterSight | None:
        """Return what a router sees of its adapters; None where it serves none."""
        return None

    def outstanding_requests(self) -> int:
        """Requests queued or running, and those whose KV is on its way from a tier."""
        engine = self.engine
        return len(engine.waiting) + engine.num_running + engine.num_loading

    def committed_blocks(self, now: int) -> int:
        """KV blocks in use, and those the queue will need for what it is known to hold.

        Counts the steps that ended before `now`, so it does not depend on how steps are grouped.
        """
        engine = self.engine
        blocks = engine.limits.num_blocks - engine.pool.free + engine.queued_blocks
        if self._block_steps > 1:
            blocks += self._blocks_due(now)
        return blocks

    def least_committed_blocks(self) -> int:
        """Committed blocks without those taken by steps that passed unnoticed: a lower bound."""
        engine = self.engine
        blocks = engine.limits.num_blocks - engine.pool.free + engine.queued_blocks
        if engine.limits.kv_groups is not None and self._block_steps > 1:
            blocks -= engine.blocks_freed(self._block_steps - 1) + max(0, self._early_blocks)
        return blocks

    def running_decodes(self) -> int:
        """Requests that decode, or will from the next step on."""
        engine = self.engine
        return sum(lane.decoding.size for lane in engine.lanes) + len(engine.arrived)

    def decode_context(self, now: int) -> int:
        """Context tokens of the requests that decode, with the step under way at `now`."""
        context = sum(lane.decoding.context for lane in self.engine.lanes)
        return context + self._gained(now)

    def remaining_output_tokens(self, now: int) -> int:
        """Output tokens that its requests have yet to get after the step under way at `now`."""
        return self.engine.remaining_output_tokens() - self._gained(now)

    def cached_blocks(self, keys: Iterable[Hashable], now: int) -> int:
        """Return how many blocks of a prompt, given by their keys from its start, are cached.

        Evicts first what the steps that passed unnoticed have evicted.
        """
        if not self.engine.pool.caching:
            return 0
        self._settle_blocks(now)
        return self.engine.holdings.cached_blocks(keys)

    def _settle_blocks(self, now: int) -> None:
        """Take the blocks of the steps that ended before `now`, not only when the block ends."""
        if self._block_steps > 1:
            due = self._blocks_due(now)
            if due:
                self.engine.pool.take(due)
                self._early_blocks += due

    def _return_early_blocks(self) -> None:
        """Give blocks back that were taken early; they are taken again in a moment."""
        self.engine.pool.give_back(self._early_blocks)
        self._early_blocks = 0

    def _blocks_due(self, now: int) -> int:
        """Return the blocks of steps that ended before `now`, or run, which are not taken yet."""
        done = self._steps_before(now)
        if done == 1:
            return 0
        return self.engine.blocks_due(done - 1) - self._early_blocks

    def _gained(self, now: int) -> int:
        """Return the tokens decoded in steps that passed unnoticed, and in the one under way.

        The latter counts whether or not a step that ends at this very tick is booked already.
        """
        if not (self._block_steps and self._block_decodes):
            return 0
        steps = self._steps_before(now) if self._block_steps > 1 else 1
        return self.engine.decoding.gained(steps)

    def _steps_before(self, now: int) -> int:
        """Return the steps of the block that ended before `now`, and one under way."""
        steps, _ = steps_reaching(self._block, now - self._block_start)
        return min(max(1, steps), self._block_steps)
