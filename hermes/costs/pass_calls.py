"""What a pass calls, one operator after the other, with the law that its time follows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from hermes.costs.constants import latent_dtype
from hermes.costs.operators import Attention, PassOperators
from hermes.costs.provenance import StepShape

if TYPE_CHECKING:
    from hermes.costs.roofline import Roofline

__all__ = ["PassCall", "attention_kind", "pass_calls"]

PassCall = tuple[str, tuple[str, str], Callable[[], float]]
"""An operator's name, operator and data type of its law, and what returns its seconds."""


def pass_calls(cost: Roofline, shape: StepShape) -> Iterator[PassCall]:
    """Yield what a pass calls: its name, the law of its time, and what returns the time."""
    operators, decodes, fresh = cost.operators, shape.decodes, shape.prefill_tokens
    tokens = decodes + fresh
    for each in operators.linears:
        yield "linear", ("linear", each.dtype), partial(cost.linear, tokens, each)
    routed = operators.experts
    if routed is not None:
        every = tokens * operators.data_parallel_size
        yield "experts", ("experts", routed.dtype), partial(cost.experts, every, routed)
        group = operators.group * operators.data_parallel_size
        yield "exchange", ("allreduce", str(group)), partial(cost.exchanges, every)
    # assumed on every device: known as well as what stands beside it
    beside = ("linear", operators.head.dtype)
    yield "element-wise", beside, partial(cost.elementwise, tokens)
    reduced = ("allreduce", str(operators.group))
    yield "all-reduce", reduced, partial(cost.allreduces, tokens)
    yield "LM head", beside, partial(cost.row_seconds, decodes or 1)
    each_attention = operators.attention[0]
    keys = shape.decode_context + decodes
    yield (
        "decode attention",
        attention_kind("decode", each_attention, operators),
        partial(cost.decode_seconds, decodes, keys),
    )
    keys = shape.prefill_context + fresh
    yield (
        "prefill attention",
        attention_kind("prefill", each_attention, operators),
        partial(cost.prefill_seconds, fresh, keys, shape.prefill_pairs),
    )


def attention_kind(kind: str, each: Attention, operators: PassOperators) -> tuple[str, str]:
    """Return the operator and the data type whose law is that of some attention."""
    if not each.latent_rank:
        return kind, each.kv_dtype
    weights = operators.projections[0].dtype if operators.projections else ""
    return f"mla_{kind}", latent_dtype(weights, each.kv_dtype)
