"""The block of steps under way, and the gaps between tokens that its steps end.

Most decodes had their latest token in the step before; those that had to wait, for prompts that ran
alone or while they were preempted, are kept apart by the tick of their latest token.
"""

from __future__ import annotations

from hermes.metrics.gaps import TokenGaps
from hermes.sim.block import Run, ticks_of
from hermes.sim.clock import Clock
from hermes.sim.engine import Engine
from hermes.sim.lane import Batch
from hermes.sim.sequence import Sequence

__all__ = ["GapLog"]


class GapLog:
    """What a replica logs of its steps.

    Args:
        env: The clock.
        engine: Knows who decodes.
    """

    def __init__(self, env: Clock, engine: Engine) -> None:
        self.engine = engine
        self.gaps = TokenGaps()
        self._env = env
        self._log = self.gaps.log()
        self._block: tuple[Run, ...] = ()  # under way
        self._block_steps = 0
        self._block_start = 0
        self._stalled: list[tuple[int, int]] = []  # (tick of latest token, sequences) while waiting

    def _log_gaps(self, batch: Batch, steps: int) -> None:
        """Log the gap before each token that the block's decodes gave."""
        if not self.engine.doomed:
            self._log_decodes(batch.decodes, steps)
            return
        lost = len(self._doomed_decodes())
        if steps > 1:
            self._log_decodes(batch.decodes, steps - 1)
            last = ticks_of(self._block, steps) - ticks_of(self._block, steps - 1)
            if batch.decodes > lost:
                self._log((last, 0, 1, batch.decodes - lost))
        elif not batch.decodes:
            self._log_decodes(0, steps)
            self._drop_stalled()
        else:
            self._drop_stalled()
            if batch.decodes > lost:
                self._log_decodes(batch.decodes - lost, steps)

    def _doomed_decodes(self) -> list[Sequence]:
        """Return the decodes that are aborted when this step ends, and get no token of it."""
        doomed = {sequence.request_id for sequence in self.engine.doomed}
        return [s for s in self.engine.decoding.sequences() if s.request_id in doomed]

    def _drop_stalled(self) -> None:
        """Await no token of the decodes that are aborted."""
        for sequence in self._doomed_decodes():
            fresh = sequence.join_step == self.engine.decoding.step
            self._unstall(sequence.last_token if fresh else self._latest_decode(self._env.now))

    def _log_decodes(self, decodes: int, steps: int) -> None:
        """Log the gap before each token of a block's decodes, none of them aborted."""
        block = self._block
        if not decodes:
            if self.engine.decoding.size and not self._stalled:
                self._stalled.append((self._block_start, self.engine.decoding.size))
            return
        if self._stalled:
            self._log_first_gaps(decodes, block[0][1])
        elif len(block) == 1:
            _, first, delta = block[0]
            self._log((first, delta, steps, decodes))
            return
        left = steps
        for position, (most, first, delta) in enumerate(block):
            inside = min(left, most)
            logged = position == 0 and bool(self._stalled)
            if inside > logged:
                self._log((first + delta * logged, delta, inside - logged, decodes))
            left -= inside
            if left == 0:
                break
        self._stalled.clear()

    def _log_first_gaps(self, decodes: int, first: int) -> None:
        """Log the gaps that a block's first step ends, where some were longer than the step."""
        end = self._block_start + first
        for tick, sequences in self._stalled:
            self.gaps.add(end - tick, 0, 1, sequences)
            decodes -= sequences
        if decodes:
            self.gaps.add(first, 0, 1, decodes)

    def _log_prefill_end(self, batch: Batch, now: int) -> None:
        for wait in self.engine.waits_ended:
            self.gaps.add(wait, 0, 1, 1)
        self.engine.waits_ended.clear()
        if self._stalled:
            joined = sum(s.computed == s.target and s.ticket >= 0 for s, _ in batch.prefills)
            if joined:
                self._stalled.append((now, joined))

    def _note_preemptions(self, now: int) -> None:
        """Keep, for who was preempted, the tick of the latest token; for who is back, count it."""
        for sequence in self.engine.interrupted:
            if sequence.last_token < 0:  # it took part in the latest decode step
                sequence.last_token = self._latest_decode(now)
            self._unstall(sequence.last_token)
        self.engine.interrupted.clear()
        for sequence in self.engine.preempted:
            sequence.begin_preemption(now)
        self.engine.preempted.clear()
        for sequence in self.engine.resumed:
            self._stalled.append((sequence.last_token, 1))
            sequence.end_preemption(now)
        self.engine.resumed.clear()

    def _latest_decode(self, now: int) -> int:
        """Return when the decodes of the batch being formed gave their latest token."""
        return self._stalled[0][0] if self._stalled else now

    def _unstall(self, tick: int) -> None:
        for position, (stalled, sequences) in enumerate(self._stalled):
            if stalled == tick:
                self._stalled[position] = (stalled, sequences - 1)
                if sequences == 1:
                    del self._stalled[position]
                return
