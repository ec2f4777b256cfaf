"""Routed experts: one grouped product over the tokens sorted by expert, up and down.

Routing is skewed: the odds of the expert of rank r fall as r^-0.6, no token chooses one twice.
`experts_uniform` is the same with loads as equal as can be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hermes.profile.bench import Kernel
from hermes.profile.operators.elementwise import activate
from hermes.profile.operators.operands import Operands, rotating
from hermes.profile.point import Point
from hermes.workload.streams import stream

__all__ = ["Routing", "expert_kernels", "expert_loads", "plan_routing", "routed"]

_SKEW = 0.6


def expert_loads(tokens: int, top_k: int, experts: int, skewed: bool) -> list[int]:
    """Return how many tokens go to each expert; in all *tokens* x *top_k*, each at most *tokens*.

    Skewed loads are drawn token by token, always the same: few tokens then touch as many experts as
    they would, which whole shares of the odds would not give.
    """
    if not skewed:
        each, more = divmod(tokens * top_k, experts)
        return [each + (rank < more) for rank in range(experts)]
    import numpy as np

    random = stream(0, "profile", "experts", f"{tokens} x {top_k} of {experts}")
    odds = -_SKEW * np.log(np.arange(1, experts + 1))
    scores = odds + random.gumbel(size=(tokens, experts))  # the highest are drawn without return
    chosen = np.argpartition(scores, experts - top_k, axis=1)[:, experts - top_k :]
    return [int(load) for load in np.bincount(chosen.ravel(), minlength=experts)]


@dataclass(frozen=True, slots=True)
class Routing:
    """Which token goes to which expert: rows sorted by expert, on the device."""

    source: Any
    """Token of every row."""
    ends: Any
    """Row after the last of every expert."""
    busiest: int
    """Rows of the expert that has most."""


def plan_routing(
    operands: Operands, tokens: int, top_k: int, experts: int, skewed: bool
) -> Routing:
    """Return a routing with the loads of `expert_loads`; no token goes to an expert twice."""
    torch = operands.torch
    loads = expert_loads(tokens, top_k, experts, skewed)
    ends = torch.tensor(loads, device=operands.device).cumsum(0).to(torch.int32)
    source = torch.arange(tokens * top_k, device=operands.device) % tokens
    return Routing(source, ends, max(loads))


def routed(inputs: Any, up: Any, down: Any, routing: Routing) -> Any:
    """Return the routed experts of a layer: gather, gate and up, activation, down, sum.

    Args:
        inputs: (tokens, hidden).
        up: (experts, hidden, 2 width).
        down: (experts, width, hidden).
        routing: Of the tokens.
    """
    import torch

    product = torch.nn.functional.grouped_mm
    inner = activate(product(inputs[routing.source], up, offs=routing.ends))
    outputs = product(inner, down, offs=routing.ends)
    return torch.zeros_like(inputs).index_add_(0, routing.source, outputs)


def expert_kernels(point: Point, operands: Operands) -> list[Kernel]:
    """Return the experts of one layer, their weights others every call."""
    names = ("tokens", "hidden", "width", "top_k", "experts")
    tokens, hidden, width, top_k, experts = (point[name] for name in names)
    routing = plan_routing(operands, tokens, top_k, experts, point.operator == "experts")
    inputs = operands.random(tokens, hidden)
    weights = operands.cold(experts, hidden * width * 3)

    def grouped(pool: Any) -> Any:
        up = pool[:, : 2 * hidden * width].view(experts, hidden, 2 * width)
        down = pool[:, 2 * hidden * width :].view(experts, width, hidden)
        return routed(inputs, up, down, routing)

    skew = routing.busiest * experts / (tokens * top_k)
    name = f"torch grouped_mm, busiest expert {skew:.2g} x the mean"
    return [Kernel(name, rotating(grouped, weights))]
