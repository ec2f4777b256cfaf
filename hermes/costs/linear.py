"""A plain linear step cost, for checks and for engines known only by three numbers."""

from __future__ import annotations

from hermes.costs.provenance import Part, StepShape
from hermes.costs.step import DecodeSegment, Spread
from hermes.scenario.costs import LinearCosts

__all__ = ["LinearStepCost"]

_TICKS_PER_US = 10**6
_TICKS_PER_NS = 10**3
_TICKS_PER_SECOND = 10**12
_UNBOUNDED = 2**62


class LinearStepCost:
    """`step_us + token_us * tokens + context_token_ns * context tokens`, exact to the tick."""

    __slots__ = ("_context", "_step", "_token")

    def __init__(self, costs: LinearCosts) -> None:
        self._step = round(costs.step_us * _TICKS_PER_US)
        self._token = round(costs.token_us * _TICKS_PER_US)
        self._context = round(costs.context_token_ns * _TICKS_PER_NS)

    @property
    def spread(self) -> Spread:
        """None: the formula is taken at its word."""
        return Spread(0.0, 0.0)

    @property
    def request_ticks(self) -> int:
        """Ticks that the front end adds to every request."""
        return 0

    @property
    def label(self) -> str:
        """Where the numbers come from."""
        return "linear"

    def decode_segment(self, sequences: int, context_tokens: int) -> DecodeSegment:
        """Return one segment without an end; see `StepCost`."""
        del context_tokens
        return DecodeSegment(_UNBOUNDED, self._step + self._token * sequences, self._context)

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
        del prefill_pairs, logit_rows
        tokens = decode_sequences + prefill_tokens
        return (
            self._step + self._token * tokens + self._context * (decode_context + prefill_context)
        )

    def parts(self, shape: StepShape) -> tuple[Part, ...]:
        """Return the step as a whole; see `StepCost`."""
        ticks = self.step_ticks(*shape, logit_rows=0)
        return (Part("step", "given", ticks / _TICKS_PER_SECOND),)

    def padding_ticks(self, tokens: int, padded: int) -> int:
        """Return what it costs to pad a step; see `StepCost`."""
        return self._token * (padded - tokens)
