"""Latent attention out of measured modules, which hold its projections too.

What steps ask for is attention alone, since projections are one product for all tokens of a step.
So a module's time, interpolated as everything is, gives its attention once the projections are
taken off that a step adds again: the two together are what was measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from hermes.costs.chip import HeadShape
from hermes.costs.operators import Attention, Linear, PassOperators
from hermes.costs.tables.grid import CallGrid

__all__ = ["LatentModules", "module_kind"]

_LEAST = 0.1
"""Attention takes at least this part of what the roofline says, whatever the projections took."""


def module_kind(weights: str, cache: str) -> str:
    """Return what the modules of some weights and some cache are called in a table."""
    return f"{weights} {cache}"


class _Pass(Protocol):
    """What modules need of the pass that they are in."""

    operators: PassOperators

    def linear(self, tokens: float, each: Linear) -> float:
        """Return the seconds of products, as a step counts them."""

    def latent_seconds(
        self, operator: str, tokens: float, keys: float, shape: HeadShape
    ) -> tuple[float, Callable[[float, Linear], float]]:
        """Return the roofline's seconds of attention in a layer, and its way with products."""


class LatentModules:
    """The modules of one model in a table.

    Args:
        cost: The pass they are in.
        grids: The table.
    """

    __slots__ = ("_attention", "_cost", "_grids", "_projections")

    def __init__(self, cost: _Pass, grids: dict[str, CallGrid]) -> None:
        self._cost = cost
        self._grids = grids
        self._attention: Attention = cost.operators.attention[0]
        self._projections = cost.operators.projections

    def ratio(self, operator: str, tokens: float, length: float) -> tuple[float, int | None]:
        """Return measured over expected time of attention, and how well it is known.

        Args:
            operator: `mla_prefill` or `mla_decode`.
            tokens: Queries of the step.
            length: Keys of a query; of a prompt, twice the mean.
        """
        grid = self._grids.get(operator)
        if grid is None:
            return 1.0, None
        hidden = self._projections[0].k
        each = self._attention
        query_rank = self._projections[1].k if len(self._projections) > 3 else each.latent_rank
        shape = (hidden, query_rank, each.latent_rank, each.heads, length, tokens)
        logs = tuple(math.log(x) for x in shape)
        found, how = grid.read(logs, lambda known: self._expected(operator, known))
        module = found * self._expected(operator, shape)
        beside = sum(self._cost.linear(tokens, one) for one in self._projections)
        attention, _ = self._attention_seconds(operator, each.heads, length, tokens)
        return max(_LEAST, (module - beside) / attention), how

    def _expected(self, operator: str, shape: tuple[float, ...]) -> float:
        """Return the roofline's seconds of a module."""
        hidden, query_rank, rank, heads, length, tokens = shape
        each = self._attention
        nope = each.key_dim - each.rope_dim
        dtype = self._projections[0].dtype
        seconds, linear = self._attention_seconds(operator, heads, length, tokens)
        for n, k in (
            (query_rank + rank + each.rope_dim, hidden),
            (heads * each.key_dim, query_rank),
            (heads * (nope + each.value_dim), rank),
            (hidden, heads * each.value_dim),
        ):
            seconds += linear(tokens, Linear(n, k, dtype))
        return seconds

    def _attention_seconds(
        self, operator: str, heads: float, length: float, tokens: float
    ) -> tuple[float, Callable[[float, Linear], float]]:
        each = self._attention
        if operator == "mla_decode":
            width = each.latent_rank + each.rope_dim
            size = each.decode_shape.kv_bytes
            shape = HeadShape(heads, 1, width, each.latent_rank, size)
        else:
            shape = HeadShape(heads, heads, each.key_dim, each.value_dim, 2.0)
        return self._cost.latent_seconds(operator, tokens, tokens * length, shape)
