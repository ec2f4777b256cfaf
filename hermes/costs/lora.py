"""LoRA adapters on a group of devices: their bytes, and the time that they add to a step.

An adapter adds to each layer that it changes the product of two thin matrices: A brings the inputs
down to the rank, B the result up to the outputs. As in vLLM (without `fully_sharded_loras`), layers
split by columns (q, k, v, gate, up) have all of A and their share of B on every device, those split
by rows (o, down) their share of A and all of B. Layers that are fused (q, k, v; gate, up) run as
one product down and one up. Time is that of the fitted law of matrix products: arithmetic of all
tokens with an adapter, weights once for each adapter in the step, launch overheads. Ranks below
that of the slots are computed as if they filled them, as vLLM's kernels do.

Not modelled: adapters of embeddings, of the LM head and of routed experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hermes.catalog import Device, Model
from hermes.costs.chip import Chip
from hermes.costs.constants import find_laws
from hermes.errors import InfeasibleError

__all__ = ["LoraCost", "LoraModule", "adapter_bytes", "lora_modules"]

_BYTES = 2  # of a value: adapters have the type of the activations
_FUSED = {"q_proj": "qkv", "k_proj": "qkv", "v_proj": "qkv", "gate_proj": "mlp", "up_proj": "mlp"}
_FEED_FORWARD = ("gate_proj", "up_proj", "down_proj")
_FIELD = "lora_target_modules"


@dataclass(frozen=True, slots=True)
class LoraModule:
    """One kind of layer that adapters change: inputs and outputs on one device, and how many."""

    name: str
    inputs: int
    outputs: int
    layers: int


def lora_modules(
    model: Model, targets: Sequence[str], tensor_parallel_size: int
) -> tuple[LoraModule, ...]:
    """Return the layers that adapters change, as one device of a group has them.

    Raises:
        InfeasibleError: the model has no such layers, or they are not modelled.
    """
    if model.is_mla:
        raise InfeasibleError(
            f"adapters of latent attention ({model.name}) are not modelled", "enable_lora"
        )
    experts = [name for name in targets if name in _FEED_FORWARD] if model.is_moe else []
    if experts:
        raise InfeasibleError(
            f"adapters of routed experts ({model.name}) are not modelled: leave out "
            f"{', '.join(experts)} (allowed: q_proj, k_proj, v_proj, o_proj)",
            _FIELD,
        )
    if "gate_proj" in targets and not model.gated_mlp:
        raise InfeasibleError(
            f"{model.name} has no gate_proj (allowed: q_proj, k_proj, v_proj, o_proj, up_proj, "
            "down_proj)",
            _FIELD,
        )
    shapes = _shapes(model, tensor_parallel_size)
    return tuple(shapes[name] for name in shapes if name in targets)


def _shapes(model: Model, size: int) -> dict[str, LoraModule]:
    hidden, width = model.hidden_size, -(-model.intermediate_size // size)
    heads = model.num_attention_heads * model.head_dim // size
    kv = -(-model.num_key_value_heads // size) * model.head_dim
    query = 2 * heads if model.gated_attention else heads
    attention, all_layers = model.num_attention_layers, model.num_hidden_layers
    modules = (
        LoraModule("q_proj", hidden, query, attention),
        LoraModule("k_proj", hidden, kv, attention),
        LoraModule("v_proj", hidden, kv, attention),
        LoraModule("o_proj", heads, hidden, attention),
        LoraModule("gate_proj", hidden, width, all_layers),
        LoraModule("up_proj", hidden, width, all_layers),
        LoraModule("down_proj", width, hidden, all_layers),
    )
    return {module.name: module for module in modules}


def adapter_bytes(modules: Sequence[LoraModule], rank: int) -> int:
    """Return the bytes of one adapter in some layers."""
    return sum(_BYTES * rank * (m.inputs + m.outputs) * m.layers for m in modules)


@dataclass(frozen=True, slots=True)
class _Product:
    """Fused layers: their inputs, their outputs together, how many share them, in how many."""

    inputs: int
    outputs: int
    slices: int
    layers: int


class LoraCost:
    """Seconds that adapters add to a step.

    Args:
        modules: What they change, on one device.
        rank: Of the slots.
        device: One of the group.
    """

    def __init__(self, modules: Sequence[LoraModule], rank: int, device: Device) -> None:
        self._rank = rank
        self._chip = Chip(device)
        self._law = find_laws(device).find("linear", "bf16")
        groups: dict[str, list[LoraModule]] = {}
        for module in modules:
            groups.setdefault(_FUSED.get(module.name, module.name), []).append(module)
        self._products = [
            _Product(group[0].inputs, sum(m.outputs for m in group), len(group), group[0].layers)
            for group in groups.values()
        ]

    def seconds(self, tokens: int, adapters: int) -> float:
        """Return the seconds that `tokens` tokens of so many different adapters add."""
        if not tokens:
            return 0.0
        rank, seconds = self._rank, 0.0
        for each in self._products:
            down = self._pass(tokens, rank * each.slices, each.inputs, adapters, added=False)
            up = self._pass(tokens, each.outputs, rank, adapters, added=True)
            seconds += each.layers * (down + up)
        return seconds

    def _pass(self, tokens: int, n: int, k: int, adapters: int, added: bool) -> float:
        """Return the seconds of one product; `added`: its outputs are added to what is there."""
        amounts = self._chip.linear(tokens, n, k, "bf16")
        more = _BYTES * ((adapters - 1) * n * k + (tokens * n if added else 0))
        return self._law.seconds(amounts._replace(memory=amounts.memory + more * self._chip.byte))
