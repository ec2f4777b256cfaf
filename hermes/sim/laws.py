"""The laws of an engine, checked: what is kept lazily equals what the sequences say."""

from __future__ import annotations

from hermes.errors import SimulationError
from hermes.sim.engine import Engine
from hermes.sim.sequence import Sequence

__all__ = ["audit", "check_drained"]


def audit(engine: Engine) -> None:
    """Check between two steps that what is kept lazily equals what the sequences say.

    Raises:
        SimulationError: naming the law that was broken.
    """
    running: list[Sequence] = []
    context: dict[int, int] = {}  # of decoding sequences
    given: dict[int, int] = {}  # tokens of the step in flight that have their blocks
    for lane in engine.lanes:
        members = list(lane.running)
        running += members
        step = lane.decoding.step
        for sequence in members:
            if sequence not in lane.prefilling:
                context[sequence.request_id] = sequence.computed + step - sequence.join_step
                given[sequence.request_id] = int(lane.grown)
    shares = [(s.computed, s.held) for s in running] + list(engine.parked.values())
    held = {id(block): block for _, blocks in shares for block in blocks}
    blocks = len(held)
    for tokens, known in engine.parked.values():
        blocks += engine.limits.blocks_for(tokens) - len(known)
    for sequence in running:
        tokens = context.get(sequence.request_id, sequence.computed)
        tokens += given.get(sequence.request_id, sequence.granted)
        blocks += engine.limits.blocks_for(tokens) - len(sequence.held)
    laws = {
        "decoding sequences": (len(context), sum(lane.decoding.size for lane in engine.lanes)),
        "decode context": (
            sum(context.values()),
            sum(lane.decoding.context for lane in engine.lanes),
        ),
        "KV blocks in use": (blocks, engine.pool.num_blocks - engine.pool.free),
        "blocks awaited": (
            sum(engine.limits.blocks_for(s.target) for s in engine.waiting),
            engine.queued_blocks,
        ),
    }
    for law, (expected, kept) in laws.items():
        if expected != kept:
            raise SimulationError(f"{law}: the sequences say {expected}, the engine {kept}")
    if engine.num_running > engine.limits.max_num_seqs:
        raise SimulationError(
            f"{engine.num_running} sequences run; {engine.limits.max_num_seqs} may"
        )


def check_drained(engine: Engine) -> None:
    """Raise if anything is left when no event is: a deadlock, or a lost block."""
    if engine.has_work or engine.pool.free != engine.limits.num_blocks:
        left = [*engine.waiting, *engine.prefilling][:5]
        raise SimulationError(
            f"the simulation ended with {len(engine.waiting)} sequences waiting, "
            f"{engine.num_running} running and {engine.pool.free} of {engine.limits.num_blocks} "
            f"KV blocks free; first: {left}"
        )
