"""Constraints: limits on metrics, and by how much a trial misses them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hermes.errors import InputError

__all__ = ["Constraint", "judge"]

_TEXT = re.compile(r"\s*(<=|>=)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?)\s*")


@dataclass(frozen=True, slots=True)
class Constraint:
    """A metric that must stay at or below, or at or above, a limit."""

    metric: str
    sign: str
    limit: float

    @classmethod
    def parse(cls, metric: str, text: str) -> Constraint:
        """Read `<= 500` or `>= 0.99`; nothing else, and nothing is evaluated."""
        match = _TEXT.fullmatch(text)
        if match is None:
            raise InputError(f'is "<= NUMBER" or ">= NUMBER", got {text!r}', metric)
        return cls(metric, match[1], float(match[2]))

    def __str__(self) -> str:
        return f"{self.metric} {self.sign} {self.limit:.15g}"

    def excess(self, metrics: Mapping[str, Any]) -> float:
        """Return how far the metric lies beyond the limit, relative to it; 0 or less is met.

        A metric that has no value, as a latency when no request completed, misses by the whole
        limit.
        """
        value = metrics.get(self.metric)
        if value is None:
            return 1.0
        beyond = value - self.limit if self.sign == "<=" else self.limit - value
        return float(beyond / abs(self.limit) if self.limit else beyond)


def judge(constraints: Sequence[Constraint], metrics: Mapping[str, Any]) -> tuple[bool, float]:
    """Return whether all constraints are met, and the sum of what they are missed by."""
    violation = math.fsum(max(0.0, constraint.excess(metrics)) for constraint in constraints)
    return violation == 0.0, violation
