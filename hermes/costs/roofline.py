"""Time of one batched forward pass, from the model's architecture and the device's datasheet.

Every operator of the pass (`operators`) does a known amount of work (`chip`), and a fitted law of
its kind (`law`) turns that into time. Attention is causal and counted once; the LM head runs for
the rows that sample; a batch reads the experts it is expected to touch; latent attention expands
its keys for prompts and works on the latent for decodes. Not modelled: sparse attention, and
overlap of communication with computation.
"""

from __future__ import annotations

from hermes.catalog import Device, Model
from hermes.costs.chip import Chip, compute_dtype
from hermes.costs.constants import Laws, find_laws
from hermes.costs.law import Law
from hermes.costs.memory import resolve_dtype
from hermes.costs.operators import Attention, Experts, Linear, PassOperators, pass_operators
from hermes.costs.pass_calls import attention_kind, pass_calls
from hermes.costs.pass_cost import ALIGNED_ABOVE, ALIGNMENT
from hermes.costs.provenance import Part, StepShape
from hermes.costs.spread import DEVIATION, law_error
from hermes.costs.step import Spread

__all__ = ["Roofline"]

_LOGIT_BYTES = 4.0


class Roofline:
    """Seconds of the parts of a forward pass on one replica; see `PassCost`."""

    __slots__ = (
        "_decode",
        "_laws",
        "_plain_prefill",
        "_prefill",
        "_recurrent",
        "calibrated",
        "chip",
        "model",
        "operators",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - what decides the work of a pass
        self,
        model: Model,
        device: Device,
        dtype: str = "auto",
        kv_dtype: str = "auto",
        tensor_parallel_size: int = 1,
        expert_parallel: bool = False,
        laws: Laws | None = None,
        data_parallel_size: int = 1,
    ) -> None:
        """Compile *model* on a group of devices.

        Args:
            model: The architecture.
            device: One of the group.
            dtype: Of the weights; `auto` takes the checkpoint's.
            kv_dtype: Of the cache; `auto` takes 16 bits.
            tensor_parallel_size: Devices in the group.
            expert_parallel: Whether whole experts are dealt to the group's devices.
            laws: In place of those kept for the device.
            data_parallel_size: Groups that share the routed experts; each has as many tokens.

        Raises:
            InfeasibleError: The group does not divide the model, or the device has no peak for
                the data type.
        """
        compute_dtype(device, resolve_dtype(model, dtype))
        self.model = model.name
        self.chip = Chip(device)
        self.operators = pass_operators(
            model, dtype, kv_dtype, tensor_parallel_size, expert_parallel, data_parallel_size
        )
        if self.operators.group > 1:
            self.chip.allreduce(1.0, self.operators.group)  # refuse a group without a way to reduce
        self._laws = laws or find_laws(device)
        used = [self._laws.find(*kind) for kind in _kinds(self.operators)]
        self.calibrated = all(law.calibrated for law in used)
        self._prefill = [self._prefill_terms(each) for each in self.operators.attention]
        self._decode = [(each, self._decode_law(each)) for each in self.operators.attention]
        self._recurrent = self._laws.find("recurrence", "bf16")
        *terms, expand, count, window = self._prefill[0]
        plain = len(self._prefill) == 1 and not (expand or window or self.operators.recurrence)
        self._plain_prefill = (*terms, count) if plain else None

    @property
    def label(self) -> str:
        """Whether every law was fitted on this device and data type."""
        return f"roofline: {'calibrated' if self.calibrated else 'uncalibrated'}"

    @property
    def spread(self) -> Spread:
        """How far off steps are expected to be, from the errors of the laws that they use."""
        few, many = 32, 2048
        decode = self._error(few, self.decode_seconds(few, few * 1000), "decode")
        pairs = many * (many + 1) // 2
        prefill = self._error(many, self.prefill_seconds(many, many, pairs), "prefill")
        return Spread(decode, prefill)

    def _error(self, tokens: int, attention: float, kind: str) -> float:
        """Return the standard deviation of the relative error of a step."""
        operators, weighted, total = self.operators, 0.0, 0.0
        parts = [(self.linear(tokens, each), "linear", each.dtype) for each in operators.linears]
        if operators.experts is not None:
            experts = operators.experts
            parts.append((self.experts(tokens, experts), "experts", experts.dtype))
        if operators.allreduces:
            parts.append((self.allreduces(tokens), "allreduce", str(operators.group)))
        each = operators.attention[0]
        parts.append((attention, *self._attention_kind(kind, each)))
        for seconds, operator, dtype in parts:
            law = self._laws.find(operator, dtype)
            weighted += seconds * law_error(law, tokens, self.chip.device)
            total += seconds
        return DEVIATION * weighted / total

    def token_seconds(self, tokens: int) -> float:
        """Return everything but attention and the LM head; see `PassCost`."""
        if tokens <= 0:
            return 0.0
        operators = self.operators
        seconds = sum(self.linear(tokens, each) for each in operators.linears)
        if operators.experts is not None:
            every = tokens * operators.data_parallel_size
            seconds += self.experts(every, operators.experts) + self.exchanges(every)
        return seconds + self.elementwise(tokens) + self.allreduces(tokens)

    def row_seconds(self, rows: int) -> float:
        """Return the LM head and its logits; see `PassCost`."""
        if rows <= 0:
            return 0.0
        head = self.operators.head
        logits = rows * head.n * _LOGIT_BYTES * self.chip.byte
        return self.linear(rows, head) + logits

    def decode_seconds(self, sequences: int, keys: int) -> float:
        """Return the attention of decodes; see `PassCost`."""
        if sequences <= 0:
            return 0.0
        seconds = sum(self.decode(sequences, keys, each, law) for each, law in self._decode)
        recurrence = self.operators.recurrence
        if recurrence is not None:
            moved = self.chip.elementwise(2 * sequences * recurrence.state_bytes)
            seconds += recurrence.count * self._recurrent.seconds(moved)
        return seconds

    def prefill_seconds(self, tokens: int, keys: int, pairs: int) -> float:
        """Return the attention of prompt chunks; see `PassCost`."""
        if tokens <= 0:
            return 0.0
        if self._plain_prefill is not None:
            pair, wave, key, token, power, root, fixed, count = self._plain_prefill
            compute = pair * pairs + wave * pairs / tokens
            memory = key * keys + token * tokens
            plain: float = count * ((compute**power + memory**power) ** root + fixed)
            return plain
        seconds = 0.0
        for pair, wave, key, token, power, root, fixed, expand, count, window in self._prefill:
            if window:
                reach = window * tokens
                seen = pairs if pairs < reach else reach
                read = keys if keys < reach else reach
            else:
                seen, read = pairs, keys
            compute = pair * seen + wave * seen / tokens
            memory = key * read + token * tokens
            seconds += count * ((compute**power + memory**power) ** root + fixed)
            if expand and keys > tokens:
                seconds += expand * (keys - tokens)
        recurrence = self.operators.recurrence
        if recurrence is not None:
            flops = tokens * recurrence.token_flops * self.chip.flop("bf16") / 0.1
            seconds += recurrence.count * (flops + self._recurrent.overhead_us * 1e-6)
        return seconds

    def parts(self, shape: StepShape) -> tuple[Part, ...]:
        """Return the operators of a pass, with where the time of each comes from."""
        found = []
        for operator, (law, dtype), seconds in pass_calls(self, shape):
            took = seconds()
            origin = self._origin(law, dtype)
            if took > 0:
                found.append(Part(operator, origin, took))
        return tuple(found)

    def _origin(self, operator: str, dtype: str) -> str:
        """Return where the time of the operator just asked for came from."""
        return "roofline" if self._laws.find(operator, dtype).calibrated else "uncalibrated"

    # -- single operators -----------------------------------------------------------------------

    def linear(self, tokens: float, each: Linear) -> float:
        """Return the seconds of all products with weights of one shape."""
        stored = each.dtype.removesuffix("_block")
        odd = each.dtype == "fp8" and tokens > ALIGNED_ABOVE and tokens % ALIGNMENT
        law = self._laws.find("linear_odd" if odd else "linear", each.dtype)
        return each.count * law.seconds(self.chip.linear(tokens, each.n, each.k, stored))

    def elementwise(self, tokens: float) -> float:
        """Return the seconds of norms, residual sums and activations of all layers."""
        law = self._laws.find("elementwise", "bf16")
        moved = self.chip.elementwise(self.operators.elementwise_bytes * tokens)
        fixed = (self.operators.elementwise_ops - 1) * law.overhead_us * 1e-6
        return law.seconds(moved) + fixed

    def experts(self, tokens: float, each: Experts) -> float:
        """Return the seconds of the routed experts of all layers."""
        law = self._laws.find("experts", each.dtype)
        stored = each.dtype.removesuffix("_block")
        amounts = self.chip.experts(tokens, each.shape, law.skew, stored)
        return each.count * law.seconds(amounts)

    def decode(self, sequences: float, keys: float, each: Attention, law: Law) -> float:
        """Return the seconds of decode attention in all layers of one kind."""
        if each.window:
            keys = min(keys, each.window * sequences)
        amounts = self.chip.decode_attention(
            sequences, keys, each.decode_shape, latent=each.latent_rank > 0
        )
        return each.count * law.seconds(amounts)

    def allreduces(self, tokens: float) -> float:
        """Return the seconds of all all-reduces."""
        operators = self.operators
        if not operators.allreduces:
            return 0.0
        law = self._laws.find("allreduce", str(operators.group))
        amounts = self.chip.allreduce(operators.message_bytes * tokens, operators.group)
        return operators.allreduces * law.seconds(amounts)

    def exchanges(self, tokens: float) -> float:
        """Return the seconds of bringing the tokens of all groups to their experts and back."""
        operators = self.operators
        if not operators.exchanges:
            return 0.0
        group = operators.group * operators.data_parallel_size
        law = self._laws.find("allreduce", str(group))
        amounts = self.chip.allreduce(operators.message_bytes * tokens, group)
        return operators.exchanges * law.seconds(amounts)

    # -- compilation ----------------------------------------------------------------------------

    def _decode_law(self, each: Attention) -> Law:
        return self._laws.find(*self._attention_kind("decode", each))

    def _attention_kind(self, kind: str, each: Attention) -> tuple[str, str]:
        return attention_kind(kind, each, self.operators)

    def _prefill_terms(self, each: Attention) -> tuple[float, ...]:
        """Return the coefficients of prefill attention in one kind of layer, constants folded in.

        The amounts are linear, so units of tokens, keys and pairs give them.
        """
        law = self._laws.find(*self._attention_kind("prefill", each))

        def amounts(tokens: float, keys: float, pairs: float) -> tuple[float, ...]:
            return self.chip.prefill_attention(tokens, keys, pairs, each.prefill_shape)

        unit_pair, unit_key, unit_token = amounts(1, 0, 1), amounts(1, 1, 0), amounts(1, 0, 0)
        expand = 0.0
        if each.latent_rank:  # keys of earlier chunks are expanded anew
            n = each.heads * (each.key_dim - each.rope_dim + each.value_dim)
            up = self._laws.find("linear", "bf16")
            many = 8192
            full = up.seconds(self.chip.linear(many, n, each.latent_rank, "bf16"))
            expand = each.count * full / many
        return (
            unit_pair[0] / law.compute_efficiency,
            unit_pair[2] * law.wave,
            (unit_key[1] - unit_token[1]) / law.memory_efficiency,
            unit_token[1] / law.memory_efficiency,
            law.sharpness,
            1 / law.sharpness,
            law.overhead_us * 1e-6,
            expand,
            each.count,
            each.window,
        )


def _kinds(operators: PassOperators) -> list[tuple[str, str]]:
    """Return the kinds of operator whose laws decide whether a pass is calibrated."""
    kinds = [("linear", each.dtype) for each in (*operators.linears, operators.head)]
    for each in operators.attention:
        kinds += [attention_kind(kind, each, operators) for kind in ("prefill", "decode")]
    if operators.experts is not None:
        kinds.append(("experts", operators.experts.dtype))
    if operators.group > 1:
        kinds.append(("allreduce", str(operators.group)))
    return list(dict.fromkeys(kinds))
