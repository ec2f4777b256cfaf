"""Laws that hold for every engine, between any two steps and when all is done.

They ask each sequence what it holds, which the engine never does: it keeps sums. Where a kind of
engine has blocks by rules of its own, its `blocks_held` says so, and the laws stay the same.
"""

from __future__ import annotations

from hermes.errors import SimulationError
from hermes.sim.scheduler_state import SchedulerState

__all__ = ["audit", "check_drained"]


def audit(engine: SchedulerState) -> None:
    """Check between two steps that what is kept lazily equals what the sequences say.

    Raises:
        SimulationError: naming the law that was broken.
    """
    lanes, limits = engine.lanes, engine.limits
    decoding = [
        (lane, sequence)
        for lane in lanes
        for sequence in lane.running
        if sequence not in lane.prefilling
    ]
    context = sum(lane.decoding.context_of(sequence) for lane, sequence in decoding)
    laws = {
        "decoding sequences": (len(decoding), sum(lane.decoding.size for lane in lanes)),
        "decode context": (context, sum(lane.decoding.context for lane in lanes)),
        "blocks awaited": (
            sum(engine.awaited_blocks(sequence) for sequence in engine.waiting),
            engine.queued_blocks,
        ),
        "tokens awaited": (
            sum(sequence.target - sequence.loaded for sequence in engine.waiting),
            engine.queued_tokens,
        ),
    }
    if engine.pool.accounts:
        laws["KV blocks in use"] = (_blocks_held(engine), limits.num_blocks - engine.pool.free)
    for law, (expected, kept) in laws.items():
        if expected != kept:
            raise SimulationError(f"{law}: the sequences say {expected}, the engine {kept}")
    if engine.num_running > limits.max_num_seqs:
        raise SimulationError(f"{engine.num_running} sequences run; {limits.max_num_seqs} may")


def _blocks_held(engine: SchedulerState) -> int:
    """Return the blocks that running and parked sequences hold, those they share only once."""
    own = 0
    shared = []
    for lane in engine.lanes:
        for sequence in lane.running:
            known = engine.holdings.known(sequence)
            own += engine.blocks_held(lane, sequence) - len(known)
            shared += known
    for parked in engine.holdings.parked.values():
        own += engine.limits.blocks_for(parked.slots) - len(parked.held)
        shared += parked.held
    return own + len({id(block) for block in shared})


def check_drained(engine: SchedulerState) -> None:
    """Raise if anything is left when no event is: a deadlock, or a lost block."""
    num_blocks = engine.limits.num_blocks
    if engine.has_work or engine.pool.free != num_blocks:
        left = [*engine.waiting, *engine.prefilling][:5]
        raise SimulationError(
            f"the simulation ended with {len(engine.waiting)} sequences waiting, "
            f"{engine.num_running} running and {engine.pool.free} of {num_blocks} "
            f"KV blocks free; first: {left}"
        )
