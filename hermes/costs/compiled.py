"""Any smooth cost model, compiled to integer segments.

A cost model answers in seconds, as a float. The simulator needs integers that sum without
rounding. So decode time at a fixed batch is interpolated between knots on the context axis, with
an integer slope; the compiled model, not the float one, is what a simulation is exact about. Knots
are 12 % apart, which keeps the interpolation within 0.1 % of a roofline (a test holds it there).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

from hermes.costs.step import DecodeSegment

__all__ = ["CompiledStepCost", "SecondsOfPass"]

SecondsOfPass = Callable[[int, int, float, float], float]
"""Seconds of one pass from (tokens, logit rows, attention pairs, KV tokens read)."""

_TICKS_PER_SECOND = 10**12
_FIRST_KNOT = 256
_RATIO = 1.12
_LAST_KNOT = 2**40


def _knots() -> tuple[int, ...]:
    knots = [0, _FIRST_KNOT]
    while knots[-1] < _LAST_KNOT:
        knots.append(int(knots[-1] * _RATIO) + 1)
    return tuple(knots)


class CompiledStepCost:
    """A float cost model behind the integer interface; segments are made when first asked for."""

    __slots__ = ("_knots", "_label", "_seconds", "_segments")

    def __init__(self, seconds: SecondsOfPass, label: str) -> None:
        self._seconds = seconds
        self._label = label
        self._knots = _knots()
        self._segments: dict[tuple[int, int], DecodeSegment] = {}

    @property
    def label(self) -> str:
        """Where the numbers come from."""
        return self._label

    def decode_segment(self, sequences: int, context_tokens: int) -> DecodeSegment:
        """Return the segment that holds a decode step; see `StepCost`."""
        key = (sequences, bisect_right(self._knots, context_tokens))
        segment = self._segments.get(key)
        if segment is None:
            segment = self._segments[key] = self._make_segment(*key)
        return segment

    def step_ticks(
        self,
        decode_sequences: int,
        decode_context: int,
        prefill_tokens: int,
        prefill_context: int,
        prefill_pairs: int,
        logit_rows: int,
    ) -> int:
        """Return the ticks of a step that holds prefill; see `StepCost`."""
        decode_keys = decode_context + decode_sequences
        seconds = self._seconds(
            decode_sequences + prefill_tokens,
            logit_rows,
            decode_keys + prefill_pairs,
            decode_keys + prefill_context + prefill_tokens,
        )
        return max(1, round(seconds * _TICKS_PER_SECOND))

    def _make_segment(self, sequences: int, knot: int) -> DecodeSegment:
        start, limit = self._knots[knot - 1], self._knots[knot]
        at_start = self._decode_ticks(sequences, start)
        slope = (self._decode_ticks(sequences, limit) - at_start) // (limit - start)
        return DecodeSegment(limit, at_start - slope * start, slope)

    def _decode_ticks(self, sequences: int, context_tokens: int) -> int:
        keys = context_tokens + sequences
        seconds = self._seconds(sequences, sequences, keys, keys)
        return max(1, round(seconds * _TICKS_PER_SECOND))
