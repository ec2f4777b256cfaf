"""A compact decoder with random weights, in the shape of a model: steps as an engine runs them.

It is made of the operators that the table holds, called one after the other: norms, products with
weights, rotary embedding, attention over a cache, gated activations, routers and routed experts,
the LM head, greedy sampling. Grouped attention without windows; no latent attention.

Which tokens go to which experts is planned, with the loads of the table's `experts`: what random
weights would choose is like no traffic. The router's product runs all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hermes.catalog import Model
from hermes.errors import InputError
from hermes.profile.operators.attention import decode_attention, prefill_attention
from hermes.profile.operators.elementwise import activate, add_norm, rotate
from hermes.profile.operators.experts import Routing, plan_routing, routed
from hermes.profile.operators.operands import Operands

__all__ = ["Chunk", "Decoder", "compact", "holds_experts"]

_BYTES = 2


@dataclass(frozen=True, slots=True)
class Chunk:
    """Prompt tokens of one sequence in a step."""

    slot: int
    start: int
    """Tokens computed before."""
    length: int


def compact(model: Model, memory_bytes: float, most_layers: int) -> Model:
    """Return *model* with as many layers as fit, so that a check of steps takes little time.

    Raises:
        InputError: Its attention is latent, windowed or recurrent, or its feed-forward not gated.
    """
    odd = model.is_mla or model.num_linear_layers or model.sliding_window
    if odd or not (model.causal and model.gated_mlp):
        raise InputError(
            f"{model.name} is no decoder with grouped attention, a gated feed-forward and no"
            " window; name one that is for the check of whole steps",
            "--models",
        )
    parameters = model.total_parameters / model.num_hidden_layers
    layers = int(memory_bytes / _BYTES / parameters)
    fewest = model.first_k_dense_replace + model.moe_layer_step if model.is_moe else 1
    count = max(fewest, min(layers, most_layers, model.num_hidden_layers))
    # the shape alone matters: untied, so that file and weights agree
    return replace(model, num_hidden_layers=count, tie_word_embeddings=False, weight_dtype="bf16")


def holds_experts(model: Model, layer: int) -> bool:
    """Return whether a layer of *model* routes its tokens; see `Model.num_moe_layers`."""
    late = layer >= model.first_k_dense_replace
    return model.is_moe and late and (layer + 1) % model.moe_layer_step == 0


class Decoder:
    """Weights, and a cache of keys and values with a slot for every sequence."""

    def __init__(self, model: Model, operands: Operands, slots: int, length: int) -> None:
        """Make random weights and an empty cache; see `compact` and `reserve`."""
        random, hidden = operands.repeated, model.hidden_size
        self.model, self.operands, self.torch = model, operands, operands.torch
        self._heads, self._kv_heads = model.num_attention_heads, model.num_key_value_heads
        self._dim = model.head_dim
        self._layers = [self._layer(each) for each in range(model.num_hidden_layers)]
        self._embedding, self._head = (random(model.vocab_size, hidden) for _ in range(2))
        self._norm = random(hidden)
        self._causal: dict[tuple[int, int], Any] = {}
        self._routings: dict[int, Routing] = {}
        self.reserve(slots, length)

    def reserve(self, slots: int, length: int) -> None:
        """Make an empty cache in place of the one there is.

        Args:
            slots: Sequences that it can hold.
            length: Tokens of each.
        """
        self.slots, self.length = slots, length
        self._cache: Any = None  # frees the old one first
        layers = self.model.num_hidden_layers
        random = self.operands.repeated
        self._cache = random(layers, 2, slots, self._kv_heads, length, self._dim)
        self._turns = random(2, length, 1, self._dim)

    def _layer(self, index: int) -> dict[str, Any]:
        """Return the weights of a layer."""
        model, random = self.model, self.operands.repeated
        hidden, heads = model.hidden_size, self._heads * self._dim
        rows = (self._heads + 2 * self._kv_heads) * self._dim
        shapes: dict[str, tuple[int, ...]] = {"qkv": (rows, hidden), "out": (hidden, heads)}
        wide = model.intermediate_size
        if holds_experts(model, index):
            experts, width = model.num_experts, model.moe_intermediate_size
            shapes["router"] = (experts, hidden)
            shapes["experts_up"] = (experts, hidden, 2 * width)
            shapes["experts_down"] = (experts, width, hidden)
            wide = model.shared_intermediate_size
        if wide:
            shapes |= {"up": (2 * wide, hidden), "down": (hidden, wide)}
        weights = {name: random(*shape).div_(hidden**0.5) for name, shape in shapes.items()}
        return weights | {"norm_1": random(hidden), "norm_2": random(hidden)}

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the cache of a sequence to another slot."""
        self._cache[:, :, target, :, :length] = self._cache[:, :, source, :, :length]

    def prepared(
        self, chunks: Sequence[Chunk], decodes: int, reach: int, mask: Any = None
    ) -> Callable[[Any, Any], Any]:
        """Return a pass over a batch, as a function of its tokens and their positions.

        It gives the next token of every decode and after every chunk. What it indexes with is on
        the device before, so that a graph can hold the pass.

        Args:
            chunks: Prompt chunks; their tokens follow those of the decodes.
            decodes: Sequences that decode, in slots 0, 1, ...
            reach: Keys that the longest decode sees.
            mask: Of the keys that each decode may see; None where all see *reach*.
        """
        slots, last = [*range(decodes)], [*range(decodes)]
        for chunk in chunks:
            slots += [chunk.slot] * chunk.length
            last.append(len(slots) - 1)
        device, tensor = self.operands.device, self.torch.tensor
        where, sampled = tensor(slots, device=device), tensor(last, device=device)
        routing = self._routing(len(slots))

        def run(tokens: Any, positions: Any) -> Any:
            def attend(queries: Any, cache: Any) -> Any:
                return self._attend(queries, cache, chunks, decodes, reach, mask)

            states = self._forward(tokens, positions, where, attend, routing)
            logits = self.torch.nn.functional.linear(
                states[sampled] if chunks else states, self._head
            )
            return self.torch.argmax(logits, dim=-1)

        return run

    def _forward(
        self,
        tokens: Any,
        positions: Any,
        slots: Any,
        attend: Callable[[Any, Any], Any],
        routing: Routing | None,
    ) -> Any:
        """Return the last hidden state of every token."""
        linear = self.torch.nn.functional.linear
        states = self._embedding[tokens]
        residual = self.torch.zeros_like(states)
        turns = self._turns[:, positions]
        split = self._heads + self._kv_heads
        for layer, cache in zip(self._layers, self._cache, strict=True):
            states, residual = add_norm(states, residual, layer["norm_1"])
            mixed = linear(states, layer["qkv"]).view(len(states), -1, self._dim)
            turned = rotate(mixed[:, :split], turns[0], turns[1])
            cache[0][slots, :, positions] = turned[:, self._heads :]
            cache[1][slots, :, positions] = mixed[:, split:]
            states = linear(attend(turned[:, : self._heads], cache), layer["out"])
            states, residual = add_norm(states, residual, layer["norm_2"])
            states = self._feed_forward(states, layer, routing)
        return add_norm(states, residual, self._norm)[0]

    def _routing(self, tokens: int) -> Routing | None:
        """Return where the tokens of a pass go, the same in every layer; None without experts."""
        model = self.model
        if not model.is_moe:
            return None
        if tokens not in self._routings:
            per_token, experts = model.num_experts_per_tok, model.num_experts
            self._routings[tokens] = plan_routing(self.operands, tokens, per_token, experts, True)
        return self._routings[tokens]

    def _feed_forward(self, states: Any, layer: dict[str, Any], routing: Routing | None) -> Any:
        """Return the feed-forward of a layer: dense, or routed and shared experts together."""
        linear = self.torch.nn.functional.linear
        dense = None
        if "up" in layer:
            dense = linear(activate(linear(states, layer["up"])), layer["down"])
        if routing is None or "router" not in layer:
            return dense
        linear(states, layer["router"])
        found = routed(states, layer["experts_up"], layer["experts_down"], routing)
        return found if dense is None else found + dense

    def _attend(
        self, queries: Any, cache: Any, chunks: Sequence[Chunk], decodes: int, reach: int, mask: Any
    ) -> Any:
        """Return the attention of the decodes together and of each chunk by itself."""
        parts = []
        if decodes:
            keys, values = cache[:, :decodes, :, :reach]
            found = decode_attention(queries[:decodes].unsqueeze(2), keys, values, mask)
            parts.append(found.reshape(decodes, -1))
        first = decodes
        for chunk in chunks:
            end = chunk.start + chunk.length
            keys, values = cache[:, chunk.slot : chunk.slot + 1, :, :end]
            asked = queries[first : first + chunk.length].transpose(0, 1).unsqueeze(0)
            attend = self._prefill(chunk.length, chunk.start)
            found = attend(asked, keys, values)[0].transpose(0, 1)
            parts.append(found.reshape(chunk.length, -1))
            first += chunk.length
        return parts[0] if len(parts) == 1 else self.torch.cat(parts)

    def _prefill(self, length: int, start: int) -> Any:
        key = (length, start)
        if key not in self._causal:
            self._causal[key] = prefill_attention(self.operands, length, start)
        return self._causal[key]
