"""Routed experts: one grouped product over the tokens sorted by expert, up and down.

Routing is skewed: the load of the expert of rank r falls as r^-0.6, no token chooses one twice.
`experts_uniform` is the same with loads as equal as can be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hermes.profile.bench import Kernel
from hermes.profile.operators.elementwise import activate
from hermes.profile.operators.operands import Operands, rotating
from hermes.profile.point import Point

__all__ = ["Routing", "expert_kernels", "expert_loads", "plan_routing", "routed"]

_SKEW = 0.6


def expert_loads(tokens: int, top_k: int, experts: int, skewed: bool) -> list[int]:
    """Return how many tokens go to each expert; in all *tokens* x *top_k*, each at most *tokens*.

    Complexity: O(experts^2) at worst.
    """
    weights = [(rank + 1) ** -_SKEW if skewed else 1.0 for rank in range(experts)]
    loads, left = [0] * experts, tokens * top_k
    while left:
        open_ranks = [rank for rank in range(experts) if loads[rank] < tokens]
        total = sum(weights[rank] for rank in open_ranks)
        share = left / total
        before = left
        for rank in open_ranks:
            more = min(tokens - loads[rank], int(share * weights[rank]), left)
            loads[rank] += more
            left -= more
        if left == before:  # what is left is less than one each: to the busiest first
            for rank in open_ranks[:left]:
                loads[rank] += 1
                left -= 1
    return loads


@dataclass(frozen=True, slots=True)
class Routing:
    """Which token goes to which expert: rows sorted by expert, on the device."""

    source: Any
    """Token of every row."""
    ends: Any
    """Row after the last of every expert."""


def plan_routing(
    operands: Operands, tokens: int, top_k: int, experts: int, skewed: bool
) -> Routing:
    """Return a routing with the loads of `expert_loads`; no token goes to an expert twice."""
    torch = operands.torch
    loads = expert_loads(tokens, top_k, experts, skewed)
    ends = torch.tensor(loads, device=operands.device).cumsum(0).to(torch.int32)
    return Routing(torch.arange(tokens * top_k, device=operands.device) % tokens, ends)


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
    skewed = point.operator == "experts"
    routing = plan_routing(operands, tokens, top_k, experts, skewed)
    inputs = operands.random(tokens, hidden)
    weights = operands.cold(experts, hidden * width * 3)

    def grouped(pool: Any) -> Any:
        up = pool[:, : 2 * hidden * width].view(experts, hidden, 2 * width)
        down = pool[:, 2 * hidden * width :].view(experts, width, hidden)
        return routed(inputs, up, down, routing)

    busiest = max(expert_loads(tokens, top_k, experts, skewed))
    skew = busiest * experts / (tokens * top_k)
    name = f"torch grouped_mm, busiest expert {skew:.2g} x the mean"
    return [Kernel(name, rotating(grouped, weights))]
