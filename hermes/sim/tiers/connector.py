"""A replica's connection to its tiers: what it finds there, fetches and writes.

KV is looked up when a request is considered for admission, after the device's own prefix cache.
It flows once the request has its blocks, and is written as far as a tier lacks it when it flows
back. A block can be found in a tier from the tick its bytes have arrived; one that leaves while it
is being read is read to the end. Not modelled: compression, and the copies inside a device.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import partial

from hermes.costs.step import StepCost
from hermes.sim.clock import Clock
from hermes.sim.network import FlowNetwork
from hermes.sim.sequence import Sequence
from hermes.sim.tiers.instance import TierInstance
from hermes.sim.tiers.lookup import Lookup, cheapest, look_up
from hermes.sim.tiers.plan import KvUse, Legs, Way

__all__ = ["KvConnector"]


@dataclass(slots=True)
class _Load:
    """KV on its way to a sequence."""

    sequence: Sequence
    begun: int
    flows: int  # not yet done
    arrived: int = -1


class KvConnector:
    """Finds, fetches and writes the KV of one replica's sequences; a `PrefixSource`.

    Args:
        env: The SimPy environment.
        network: What the KV flows over.
        instances: Of all tiers.
        ways: The replica's ways to its own instances, nearest first.
        use: How its client uses them.
        costs: Of the replica's steps, to estimate what computing takes.
        chunk: Most prompt tokens of a step.
    """

    def __init__(
        self,
        env: Clock,
        network: FlowNetwork,
        instances: tuple[TierInstance, ...],
        ways: tuple[Way, ...],
        use: KvUse,
        costs: StepCost,
        chunk: int,
    ) -> None:
        self.use = use
        self.ways = ways
        self.instances = tuple(instances[way.instance] for way in ways)
        self.loads: list[_Load] = []  # of the step under way, whose layers it waits for
        self._env = env
        self._network = network
        self._costs = costs
        self._chunk = chunk
        self._found: Lookup | None = None
        self._plans: dict[int, Lookup] = {}
        self._on_loaded: Callable[[Sequence], None] = _nobody

    def listen(self, on_loaded: Callable[[Sequence], None]) -> None:
        """Tell `on_loaded` of each sequence whose KV is there."""
        self._on_loaded = on_loaded

    # -- as a source of prefixes ----------------------------------------------------------------

    @property
    def layerwise(self) -> bool:
        """Whether a step waits for KV layer by layer; see `PrefixSource`."""
        return self.use.load == "layerwise"

    def find(self, sequence: Sequence, begin: int) -> int:
        """Return how many tokens from `begin` on are to be fetched; see `PrefixSource`."""
        size = self.use.block_size
        asked, runs = look_up(sequence, begin, size, self.instances, self._key)
        fetched = len(runs)
        if runs and self.use.fetch == "cheaper":
            target = sequence.target
            fetched = cheapest(runs, begin, target, self._fetch_ticks, self._compute_ticks)
        elif self.use.fetch == "never":
            fetched = 0
        self._found = Lookup(asked, runs, fetched)
        return self._found.tokens

    def take(self, sequence: Sequence, begin: int) -> None:
        """Note what was asked for and found; see `PrefixSource`."""
        found, self._found = self._found, None
        if found is None:
            return
        missed = found.asked
        for level, tier in enumerate(self.instances):
            hits = found.found_in(level)
            missed -= hits
            tier.hit_tokens += hits
            tier.missed_tokens += missed
        if sequence.recalled is None:
            self._touch(sequence, begin + sum(run.tokens for run in found.runs))
        if found.tokens:
            sequence.fetched_tokens += found.tokens
            self._plans[sequence.request_id] = found

    def _touch(self, sequence: Sequence, tokens: int) -> None:
        """Let all tiers know the blocks that were asked for; the first one last, so it stays."""
        for block in reversed(range(tokens // self.use.block_size)):
            key = self._key(sequence, block)
            for tier in self.instances:
                if key in tier.store:
                    tier.store.touch(key)

    def _key(self, sequence: Sequence, block: int) -> Hashable:
        return self.use.content, sequence.block_key(block)

    # -- estimates ------------------------------------------------------------------------------

    def _fetch_ticks(self, tokens: dict[int, int]) -> int:
        """Return about how long so many tokens of each tier take under the present load."""
        decided = [plan.by_level() for plan in self._plans.values()]  # in the step being formed
        longest = 0
        for level, count in tokens.items():
            size = (count + sum(plan.get(level, 0) for plan in decided)) * self.use.token_bytes
            ticks = sum(
                self._network.estimate(leg, size, self._most(level, leg))
                for leg in self.ways[level].reading
            )
            longest = max(longest, ticks)
        return longest

    def _compute_ticks(self, begin: int, end: int) -> int:
        """Return how long the prompt tokens from one to another take in steps of their own."""
        total, done = 0, begin
        while done < end:
            chunk = min(self._chunk, end - done)
            pairs = chunk * done + chunk * (chunk + 1) // 2
            total += self._costs.step_ticks(0, 0, chunk, done, pairs, int(done + chunk == end))
            done += chunk
        return total

    # -- fetching -------------------------------------------------------------------------------

    def fetch(self, sequence: Sequence) -> None:
        """Let the KV flow to a sequence that has blocks for it."""
        tokens = self._plans.pop(sequence.request_id).by_level()
        load = _Load(sequence, self._env.now, len(tokens))
        if self.layerwise:
            self.loads.append(load)
        for level, count in tokens.items():
            size = count * self.use.token_bytes
            done = partial(self._read, load, level, size)
            self._carry(level, self.ways[level].reading, size, done)

    def _read(self, load: _Load, level: int, size: int) -> None:
        self.instances[level].bytes_read += size
        load.flows -= 1
        if load.flows == 0:
            load.arrived = self._env.now
            if not self.layerwise and load.sequence.scheduled < 0:
                load.sequence.retrieval_ticks += load.arrived - load.begun
            self._on_loaded(load.sequence)

    def step_ticks(self, compute: int) -> int | None:
        """Return how long a step takes that computes so long and waits for its loads' layers.

        Layers come one after another, evenly from when the load began until its last byte was
        there, and each is computed when it is there and the one before is done. None: not all of
        it has come yet.
        """
        if any(load.flows for load in self.loads):
            return None
        layers, ticks = self.use.layers, compute
        for load in self.loads:
            passed = load.arrived - load.begun
            ticks = max(ticks, compute + -(-passed // layers), passed + -(-compute // layers))
        return ticks

    def end_step(self, waited: int) -> None:
        """Note that a step has ended, so long after it would have without its loads."""
        for load in self.loads:
            load.sequence.stall_ticks += waited
        self.loads.clear()

    # -- writing --------------------------------------------------------------------------------

    def finished(self, sequence: Sequence) -> None:
        """Write what a sequence that is done here has computed."""
        if self.use.write_back != "finish":
            return
        if sequence.recalled is not None:
            stored = 0 if sequence.recalled.level is None else sequence.recalled.tokens
            size = (sequence.computed - stored) * self.use.token_bytes
            for level in range(len(self.ways)):
                self._write(level, [], size)
            return
        blocks = range(sequence.computed // self.use.block_size)
        keys = [self._key(sequence, block) for block in blocks]
        for level in range(len(self.ways)):
            self._write_missing(level, keys)

    def warm(self, prompts: Iterable[tuple[Hashable, ...]]) -> None:
        """Let what is written when it is done be there already: the blocks of earlier prompts."""
        if self.use.write_back != "finish":
            return
        for keys in prompts:
            for tier in self.instances:
                for key in reversed(keys):  # the first block is the last to leave
                    tier.store.enter((self.use.content, key), self.use.block_bytes)

    def evicted(self, keys: Iterable[Hashable]) -> None:
        """Write blocks that the device gives up to the nearest tier."""
        self._write_missing(0, [(self.use.content, key) for key in keys])

    def _write_missing(self, level: int, keys: list[Hashable]) -> None:
        lacks = self.instances[level].lacks
        missing = [key for key in keys if lacks(key)]
        self._write(level, missing, len(missing) * self.use.block_bytes)

    def _write(self, level: int, keys: list[Hashable], size: int) -> None:
        if not size:
            return
        tier = self.instances[level]
        tier.incoming.update(dict.fromkeys(keys))
        written = partial(self._written, tier, keys, size)
        self._carry(level, self.ways[level].writing, size, written)

    def _written(self, tier: TierInstance, keys: list[Hashable], size: int) -> None:
        tier.bytes_written += size
        for key in reversed(keys):  # the first block is the last to leave
            del tier.incoming[key]
            tier.store.enter(key, self.use.block_bytes)

    def _carry(self, level: int, legs: Legs, size: int, on_done: Callable[[], None]) -> None:
        first, rest = legs[0], legs[1:]
        after = partial(self._carry, level, rest, size, on_done) if rest else on_done
        most = self._most(level, first)
        self._network.transfer(first, size, after, max_bytes_per_second=most)

    def _most(self, level: int, leg: tuple[str, ...]) -> float | None:
        """Return the bytes a second that one transfer gets at most; None where all there is."""
        plan = self.instances[level].plan
        return plan.stream if plan.name in leg else None


def _nobody(sequence: Sequence) -> None:
    del sequence
