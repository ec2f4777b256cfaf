"""A replica for a client that speculates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hermes.sim.limits import EngineLimits
from hermes.sim.queues import QueueOrder
from hermes.sim.speculation.acceptance import mean_gain
from hermes.sim.speculation.clocked_group import ClockedGroup
from hermes.sim.speculation.drawn_group import DrawnGroup
from hermes.sim.speculation.engine import SampledEngine, SpeculativeEngine
from hermes.sim.speculation.plan import SpeculationPlan

__all__ = ["speculative_engine"]


def speculative_engine(
    plan: SpeculationPlan,
    limits: EngineLimits,
    order: QueueOrder,
    draws: Callable[[], np.random.Generator],
) -> SpeculativeEngine:
    """Return the engine of a replica that verifies drafts.

    Args:
        plan: What is drafted.
        limits: Bounds of its batches and its cache.
        order: Which request is next, and which gives way.
        draws: Makes the replica's stream, where one is needed.
    """
    spec = plan.spec
    if spec.mode == "sampled":
        return SampledEngine(limits, order, DrawnGroup(limits, plan.draws(draws())))
    mean = mean_gain(spec.acceptance_rate, spec.num_speculative_tokens)
    return SpeculativeEngine(limits, order, ClockedGroup(limits, mean))
