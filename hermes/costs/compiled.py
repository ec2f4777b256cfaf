"""Any cost model, compiled to integers that sum without rounding.

A cost model answers in seconds, as a float. The simulator needs integers. So what depends on the
tokens alone is tabulated at knots, exact up to 32 tokens and 6 % apart from there, for whole tiles
of tokens and for others apart; decode attention
at a fixed batch is interpolated between knots on the context axis, with an integer slope. These are
10 % apart, or up to eight times as far where the line between two of them leaves no step in between
off by more than 0.02 %. The compiled model, not the float one, is what a simulation is exact about.
Knots are filled when first asked for, so compiling takes no time, and a query is a few reads
whatever the model.
Interpolation stays within 0.1 % of a roofline, 1 % where sliding windows end (a test holds it).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from math import hypot

from hermes.costs.pass_cost import ALIGNMENT, PassCost
from hermes.costs.provenance import Part, StepShape
from hermes.costs.step import DecodeSegment, Spread

__all__ = ["CompiledStepCost"]

_TICKS_PER_SECOND = 10**12
_FIRST_KNOT = 256
_LAST_KNOT = 2**40
_SPANS = (8, 4, 2)  # knots that a line may span, and not only one
_OFF = 5000  # a step may be off by this part of it there


def _knots(first: int, ratio: float, last: int) -> tuple[int, ...]:
    knots = [0, first]
    while knots[-1] < last:
        knots.append(int(knots[-1] * ratio) + 1)
    return tuple(knots)


class CompiledStepCost:
    """A float cost model behind the integer interface; see `StepCost`."""

    __slots__ = (
        "_at_knots",
        "_attention",
        "_cost",
        "_engine_deviation",
        "_even_knots",
        "_exact_tokens",
        "_fixed",
        "_knots",
        "_odd_knots",
        "_parts",
        "_rows",
        "_segments",
        "_tokens",
        "request_ticks",
    )

    def __init__(
        self,
        cost: PassCost,
        step_seconds: float = 0.0,
        request_seconds: float = 0.0,
        engine_deviation: float = 0.0,
    ) -> None:
        """Compile a cost model.

        Args:
            cost: The parts of a pass.
            step_seconds: Time of the host in every step.
            request_seconds: Time of the front end for every request.
            engine_deviation: Relative error of steps with prompts that the engine around the
                device adds.
        """
        self._cost = cost
        self._engine_deviation = engine_deviation
        self._fixed = round(step_seconds * _TICKS_PER_SECOND)
        self.request_ticks = round(request_seconds * _TICKS_PER_SECOND)
        self._knots = _knots(_FIRST_KNOT, 1.1, _LAST_KNOT)
        knots = _knots(32, 1.06, 2**22)[1:]
        self._odd_knots = (*range(32), *(knot | 1 for knot in knots))
        self._even_knots = tuple(dict.fromkeys(-(-knot // ALIGNMENT) * ALIGNMENT for knot in knots))
        self._exact_tokens: dict[int, int] = {}
        self._tokens: dict[int, int] = {}
        self._rows: dict[int, int] = {}
        self._parts: dict[StepShape, tuple[Part, ...]] = {}
        self._attention: dict[tuple[int, int], DecodeSegment] = {}
        self._at_knots: dict[tuple[int, int], int] = {}
        self._segments: dict[int, dict[int, DecodeSegment]] = {}  # by sequences and knot

    @property
    def spread(self) -> Spread:
        """How far off it is expected to be."""
        decode, prefill = self._cost.spread
        return Spread(decode, hypot(prefill, self._engine_deviation))

    @property
    def label(self) -> str:
        """Where the numbers come from."""
        return self._cost.label

    def decode_segment(self, sequences: int, context_tokens: int) -> DecodeSegment:
        """Return the segment that holds a decode step; see `StepCost`."""
        knot = bisect_right(self._knots, context_tokens)
        segments = self._segments.get(sequences)
        if segments is None:
            segments = self._segments[sequences] = {}
        segment = segments.get(knot)
        if segment is None:
            limit, base, slope = self._attention_segment(sequences, knot)
            fixed = self._token_ticks(sequences) + self._row_ticks(sequences)
            segment = segments[knot] = DecodeSegment(limit, base + fixed, slope)
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
        tokens = decode_sequences + prefill_tokens
        fixed = self._tokens.get(tokens)
        if fixed is None:
            fixed = self._token_ticks(tokens)
        if logit_rows:
            rows = self._rows.get(logit_rows)
            fixed += self._row_ticks(logit_rows) if rows is None else rows
        if decode_sequences:
            key = (decode_sequences, bisect_right(self._knots, decode_context))
            segment = self._attention.get(key)
            if segment is None:
                segment = self._attention_segment(*key)
            fixed += segment[1] + segment[2] * decode_context
        seconds = self._cost.prefill_seconds(
            prefill_tokens, prefill_context + prefill_tokens, prefill_pairs
        )
        return fixed + round(seconds * _TICKS_PER_SECOND)

    def parts(self, shape: StepShape) -> tuple[Part, ...]:
        """Return the operators of a step, the host's time among them; see `StepCost`."""
        found = self._parts.get(shape)
        if found is None:
            found = self._cost.parts(shape)
            if self._fixed:
                found += (Part("host", "roofline", self._fixed / _TICKS_PER_SECOND),)
            self._parts[shape] = found
        return found

    def padding_ticks(self, tokens: int, padded: int) -> int:
        """Return what it costs to pad a step; see `StepCost`."""
        return self._token_ticks(padded) - self._token_ticks(tokens)

    def _attention_segment(self, sequences: int, knot: int) -> DecodeSegment:
        """Return the line that covers what lies before a knot and after the one before it."""
        segment = self._attention.get((sequences, knot))
        if segment is None:
            begin, end = self._span(sequences, knot - 1)
            segment = self._line(sequences, begin, end)
            for covered in range(begin + 1, end + 1):
                self._attention[sequences, covered] = segment
        return segment

    def _span(self, sequences: int, knot: int) -> tuple[int, int]:
        """Return the knots between which one line holds, the one after *knot* being inside."""
        for span in _SPANS:
            low = knot // span * span
            if low + span < len(self._knots) and self._holds(sequences, low, low + span):
                return low, low + span
        return knot, knot + 1

    def _line(self, sequences: int, low: int, high: int) -> DecodeSegment:
        start, limit = self._knots[low], self._knots[high]
        at_start = self._at_knot(sequences, low)
        slope = (self._at_knot(sequences, high) - at_start) // (limit - start)
        return DecodeSegment(limit, at_start - slope * start, slope)

    def _holds(self, sequences: int, low: int, high: int) -> bool:
        """Whether a line is close enough to every knot that it crosses, for a decode step."""
        line = self._line(sequences, low, high)
        fixed = self._token_ticks(sequences) + self._row_ticks(sequences)
        for knot in range(low + 1, high):
            ticks = self._at_knot(sequences, knot)
            off = abs(line.base + line.slope * self._knots[knot] - ticks)
            if off * _OFF > fixed + ticks:
                return False
        return True

    def _at_knot(self, sequences: int, knot: int) -> int:
        ticks = self._at_knots.get((sequences, knot))
        if ticks is None:
            seconds = self._cost.decode_seconds(sequences, self._knots[knot] + sequences)
            ticks = self._at_knots[sequences, knot] = _ticks(seconds)
        return ticks

    def _token_ticks(self, tokens: int) -> int:
        """Return the ticks of what depends on the tokens alone, and of the host."""
        found = self._tokens.get(tokens)
        if found is None:
            aligned = tokens % ALIGNMENT == 0 and tokens >= self._even_knots[0]
            knots = self._even_knots if aligned else self._odd_knots
            exact, cost = self._exact_tokens, self._cost.token_seconds
            found = _interpolated(tokens, knots, exact, cost) + max(1, self._fixed)
            self._tokens[tokens] = found
        return found

    def _row_ticks(self, rows: int) -> int:
        found = self._rows.get(rows)
        if found is None:
            found = self._rows[rows] = _ticks(self._cost.row_seconds(rows))
        return found


def _ticks(seconds: float) -> int:
    return round(seconds * _TICKS_PER_SECOND)


def _interpolated(
    x: int, knots: tuple[int, ...], known: dict[int, int], seconds: Callable[[int], float]
) -> int:
    """Return the ticks at *x*, on the line between the knots around it."""
    position = bisect_right(knots, x)
    low = knots[position - 1]
    high = knots[position] if position < len(knots) else low + 1
    for knot in (low, high):
        if knot not in known:
            known[knot] = _ticks(seconds(knot))
    if low == x:
        return known[low]
    return known[low] + (known[high] - known[low]) * (x - low) // (high - low)
