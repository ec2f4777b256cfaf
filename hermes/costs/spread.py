"""How far off a cost model is expected to be, and a model made that much faster or slower.

The spread of a pass is that of its operators, weighted by their share of its time; errors of
operators are taken as if they all went the same way, since what is wrong about a device is mostly
wrong about all of it. A law that was fitted on another device has the error of a device left out.
"""

from __future__ import annotations

from hermes.catalog import Device
from hermes.costs.law import Law
from hermes.costs.provenance import Part, StepShape
from hermes.costs.step import DecodeSegment, StepCost

__all__ = ["DEVIATION", "PerturbedStepCost", "law_error"]

DEVIATION = 1.48
"""Standard deviation over median absolute error, of normal errors."""
_BORROWED = 0.05
"""Error of H100's constants on H200, which is the same chip with other memory."""
_FOREIGN = 0.5
"""Error of constants of NVIDIA's devices on those of others: whole batches on MI250 and Max 1550
were 47 to 75 % off (Argonne's LLM-Inference-Bench), and no operator of theirs is known."""
_HOME = "NVIDIA"
_FRACTION_BITS = 30


def law_error(law: Law, tokens: float, device: Device) -> float:
    """Return the median absolute relative error that a law is expected to have on a device."""
    error = law.small_error if tokens <= 64 else law.large_error
    if not law.calibrated and device.vendor not in {"", _HOME}:
        return max(error, _FOREIGN)
    if not law.calibrated and law.device != "general":
        error += _BORROWED
    return error


class PerturbedStepCost:
    """A cost model with all its decode steps scaled, and all its other steps and the front end."""

    __slots__ = ("_costs", "_decode", "_other", "label", "request_ticks", "spread")

    def __init__(self, costs: StepCost, decode: float, other: float) -> None:
        """Scale *costs* by two factors, rounded to 2^-30."""
        self._costs: StepCost = costs
        self._decode: int = round(decode * 2**_FRACTION_BITS)
        self._other: int = round(other * 2**_FRACTION_BITS)
        self.label = costs.label
        self.request_ticks = costs.request_ticks * self._other >> _FRACTION_BITS
        self.spread = costs.spread

    def decode_segment(self, sequences: int, context_tokens: int) -> DecodeSegment:
        """Return the scaled segment; see `StepCost`."""
        limit, base, slope = self._costs.decode_segment(sequences, context_tokens)
        by = self._decode
        return DecodeSegment(limit, base * by >> _FRACTION_BITS, slope * by >> _FRACTION_BITS)

    def step_ticks(
        self,
        decode_sequences: int,
        decode_context: int,
        prefill_tokens: int,
        prefill_context: int,
        prefill_pairs: int,
        logit_rows: int,
    ) -> int:
        """Return the scaled ticks; see `StepCost`."""
        ticks: int = self._costs.step_ticks(
            decode_sequences,
            decode_context,
            prefill_tokens,
            prefill_context,
            prefill_pairs,
            logit_rows,
        )
        scaled: int = ticks * self._other >> _FRACTION_BITS
        return max(1, scaled)

    def parts(self, shape: StepShape) -> tuple[Part, ...]:
        """Return the operators of the model that is scaled; see `StepCost`."""
        return self._costs.parts(shape)

    def padding_ticks(self, tokens: int, padded: int) -> int:
        """Return the ticks of padding, scaled like a step with prompts; see `StepCost`."""
        return self._costs.padding_ticks(tokens, padded) * self._other >> _FRACTION_BITS
