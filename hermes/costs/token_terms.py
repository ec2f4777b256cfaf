"""What a pass spends on its tokens alone, compiled to a few multiplications.

The work of linear layers, element-wise passes and all-reduces is linear in the tokens of the pass,
so two evaluations give its coefficients, and a query is one formula an operator. Experts and 8-bit
weights, whose kernels differ with the number of tokens, are left to the roofline.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from hermes.costs.chip import Chip
from hermes.costs.constants import Laws
from hermes.costs.law import Amounts, Law
from hermes.costs.operators import PassOperators
from hermes.costs.roofline import Roofline

__all__ = ["compile_token_seconds"]

_BY_TOKENS = frozenset({"fp8", "fp8_block"})


class _Term(NamedTuple):
    """One operator's law with its work folded in: `a` per token, `b` fixed."""

    compute_a: float
    compute_b: float
    memory_a: float
    memory_b: float
    power: float
    root: float
    extra_a: float
    extra_b: float
    times: float


def compile_token_seconds(roofline: Roofline, laws: Laws) -> Callable[[int], float]:
    """Return a function equal to `roofline.token_seconds`, as fast as the model allows.

    Args:
        roofline: The pass.
        laws: Those that it was built with.
    """
    operators = roofline.operators
    if operators.experts is not None or any(e.dtype in _BY_TOKENS for e in operators.linears):
        return roofline.token_seconds
    terms = _terms(operators, roofline.chip, laws)

    def seconds(tokens: int) -> float:
        if tokens <= 0:
            return 0.0
        total = 0.0
        for compute, fixed, memory, weights, power, root, extra, overhead, count in terms:
            bound = (compute * tokens + fixed) ** power + (memory * tokens + weights) ** power
            total += count * (bound**root + extra * tokens + overhead)
        return total

    return seconds


def _terms(operators: PassOperators, chip: Chip, laws: Laws) -> list[_Term]:
    terms = [
        _term(
            laws.find("linear", each.dtype),
            chip.linear(1, each.n, each.k, each.dtype),
            chip.linear(2, each.n, each.k, each.dtype),
            each.count,
        )
        for each in operators.linears
    ]
    law, moved = laws.find("elementwise", "bf16"), operators.elementwise_bytes
    passes = _term(law, chip.elementwise(moved), chip.elementwise(2 * moved), 1)
    launches = operators.elementwise_ops * law.overhead_us * 1e-6
    terms.append(passes._replace(extra_b=launches))
    if operators.allreduces:
        size, message = operators.group, operators.message_bytes
        law = laws.find("allreduce", str(size))
        one, two = chip.allreduce(message, size), chip.allreduce(2 * message, size)
        terms.append(_term(law, one, two, operators.allreduces))
    return terms


def _term(law: Law, one: Amounts, two: Amounts, count: float) -> _Term:
    """Return the term of an operator from its work on one token and on two."""

    def line(first: float, second: float, scale: float) -> tuple[float, float]:
        slope = second - first
        return slope * scale, (first - slope) * scale

    compute_a, compute_b = line(one.compute, two.compute, 1 / law.compute_efficiency)
    memory_a, memory_b = line(one.memory, two.memory, 1 / law.memory_efficiency)
    extra_a, extra_b = line(one.extra, two.extra, law.extra)
    turns, extra_b = (extra_b, 0.0) if law.sharpness < 0 else (0.0, extra_b)
    return _Term(
        compute_a=compute_a,
        compute_b=max(0.0, compute_b) + law.wave * one.wave,
        memory_a=memory_a,
        memory_b=max(0.0, memory_b) + turns,
        power=law.sharpness,
        root=1 / law.sharpness,
        extra_a=extra_a,
        extra_b=extra_b + law.overhead_us * 1e-6,
        times=count,
    )
