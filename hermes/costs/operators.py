"""The operators of one forward pass on one device of a replica, from the model's architecture.

Tensor parallelism splits heads, feed-forward widths and the vocabulary; expert parallelism deals
whole experts to the devices of the same group. KV heads are copied where there are fewer than
devices. What latent attention compresses every device computes whole.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hermes.catalog import Model
from hermes.catalog.dtypes import DTYPE_BYTES
from hermes.costs.chip import ExpertShape, HeadShape
from hermes.costs.memory import check_tensor_parallel_size, resolve_dtype, resolve_kv_dtype

__all__ = [
    "Attention",
    "Elementwise",
    "Experts",
    "Linear",
    "PassOperators",
    "Recurrence",
    "pass_operators",
]

_EXPERTS_ONLY = frozenset({"mxfp4"})
_SIXTEEN_BIT = frozenset({"bf16", "fp16", "fp32"})
_BYTES = 2.0  # of an activation
_ELEMENTWISE_OPS = 3  # two norms with their residual sums, one activation


@dataclass(frozen=True, slots=True)
class Linear:
    """A product with a weight matrix, `count` times in a pass."""

    n: float
    k: float
    dtype: str
    count: float = 1


@dataclass(frozen=True, slots=True)
class Experts:
    """The routed experts of a layer, `count` times in a pass."""

    shape: ExpertShape
    dtype: str
    """Of the weights; the law's name, which tells block-wise fp8 apart."""
    count: float = 1


@dataclass(frozen=True, slots=True)
class Attention:
    """Attention of one kind of layer, `count` times in a pass."""

    heads: float
    kv_heads: float
    key_dim: int
    value_dim: int
    kv_dtype: str
    count: float
    window: int = 0
    """Keys that a query sees at most; 0 where it sees all."""
    latent_rank: int = 0
    """Of latent attention, whose decode works on the latent; 0 for the usual kind."""
    rope_dim: int = 0

    @property
    def prefill_shape(self) -> HeadShape:
        """The heads that prompts attend with; latents are expanded to 16 bits before."""
        size = _BYTES if self.latent_rank else DTYPE_BYTES[self.kv_dtype]
        return HeadShape(self.heads, self.kv_heads, self.key_dim, self.value_dim, size)

    @property
    def decode_shape(self) -> HeadShape:
        """The heads that decodes attend with: of latent attention, all on the one latent."""
        size = DTYPE_BYTES[self.kv_dtype]
        if not self.latent_rank:
            return HeadShape(self.heads, self.kv_heads, self.key_dim, self.value_dim, size)
        width = self.latent_rank + self.rope_dim
        return HeadShape(self.heads, 1, width, self.latent_rank, size)


@dataclass(frozen=True, slots=True)
class Recurrence:
    """Linear-attention or state-space layers: a state per sequence in place of a cache."""

    state_bytes: float
    """Of one sequence in one layer, on one device."""
    token_flops: float
    """Of one token in one layer, beside the linear layers."""
    count: float


@dataclass(frozen=True, slots=True)
class Elementwise:
    """A norm with its residual sum, an activation, or rotary embedding, `count` times in a pass."""

    kind: str
    """norm, activation or rope."""
    width: float
    """Values of one token: of its hidden state, after the activation, of its rotated heads."""
    count: float


@dataclass(frozen=True, slots=True)
class PassOperators:
    """Everything that a pass does on one device."""

    linears: tuple[Linear, ...]
    head: Linear
    experts: Experts | None
    attention: tuple[Attention, ...]
    recurrence: Recurrence | None
    elementwise_bytes: float
    """Of one token in all layers."""
    elementwise_ops: int
    elementwise: tuple[Elementwise, ...]
    """The same one by one, for tables that hold them."""
    allreduces: int
    message_bytes: float
    """Of one token in one all-reduce."""
    group: int
    """Devices that reduce together."""
    projections: tuple[Linear, ...] = ()
    """Those around latent attention, of one layer; measured modules hold them."""
    exchanges: int = 0
    """Times that tokens go to experts on all devices of all groups, and back."""
    data_parallel_size: int = 1
    """Groups that share the routed experts."""


def pass_operators(
    model: Model,
    dtype: str,
    kv_dtype: str,
    tensor_parallel_size: int,
    expert_parallel: bool = False,
    data_parallel_size: int = 1,
) -> PassOperators:
    """Return the operators of a pass of *model* on each device of a group.

    With data parallelism several groups attend to sequences of their own, and the routed experts
    are spread over the devices of all of them: what they get and give is gathered and reduced over
    all, which takes as long as one all-reduce, in place of the one over the group.

    Raises:
        InfeasibleError: The group does not divide the model.
    """
    size = tensor_parallel_size
    check_tensor_parallel_size(model, size)
    exchanges = model.num_moe_layers if data_parallel_size > 1 else 0
    stored = resolve_dtype(model, dtype)
    half = stored if stored in _SIXTEEN_BIT else "bf16"
    kind = half if stored in _EXPERTS_ONLY else _law_name(model, stored)
    return PassOperators(
        linears=tuple(
            _merged([*_projections(model, kind, size), *_feed_forward(model, kind, size)])
        ),
        head=Linear(model.vocab_size / size, model.hidden_size, half),
        experts=_experts(model, stored, size * data_parallel_size, expert_parallel),
        attention=tuple(_attention(model, resolve_kv_dtype(model, kv_dtype), size)),
        recurrence=_recurrence(model, size),
        elementwise_bytes=_elementwise_bytes(model, size),
        elementwise_ops=_ELEMENTWISE_OPS * model.num_hidden_layers,
        elementwise=tuple(_elementwise(model, size)),
        allreduces=0 if size == 1 else 2 * model.num_hidden_layers + 1 - exchanges,
        message_bytes=model.hidden_size * _BYTES,
        group=size,
        projections=_of_one_layer(_projections(model, kind, size)) if model.is_mla else (),
        exchanges=exchanges,
        data_parallel_size=data_parallel_size,
    )


def _of_one_layer(linears: list[Linear]) -> tuple[Linear, ...]:
    return tuple(replace(each, count=1) for each in linears if each.count)


def _law_name(model: Model, stored: str) -> str:
    """Return the kind of weights; checkpoints published in fp8 have a scale per block of 128."""
    return "fp8_block" if stored == "fp8" and model.weight_dtype == "fp8" else stored


def _merged(linears: list[Linear]) -> list[Linear]:
    """Return the same work with alike products counted together."""
    counts: dict[tuple[float, float, str], float] = {}
    for each in linears:
        key = (each.n, each.k, each.dtype)
        counts[key] = counts.get(key, 0) + each.count
    return [Linear(n, k, dtype, count) for (n, k, dtype), count in counts.items() if count and n]


def _projections(model: Model, dtype: str, size: int) -> list[Linear]:
    """Return the projections around attention, and those of recurrent layers."""
    hidden, layers = model.hidden_size, model.num_attention_layers
    heads = model.num_attention_heads / size
    if model.is_mla:
        query = heads * (model.qk_nope_head_dim + model.qk_rope_head_dim)
        latent = model.q_lora_rank + model.kv_lora_rank + model.qk_rope_head_dim
        expand = heads * (model.qk_nope_head_dim + model.v_head_dim)
        return [
            Linear(latent if model.q_lora_rank else latent + query, hidden, dtype, layers),
            Linear(query, model.q_lora_rank, dtype, layers if model.q_lora_rank else 0),
            Linear(expand, model.kv_lora_rank, dtype, layers),
            Linear(hidden, heads * model.v_head_dim, dtype, layers),
        ]
    kv_heads = max(1.0, model.num_key_value_heads / size)
    query_heads = heads * (2 if model.gated_attention else 1)
    found = [
        Linear((query_heads + 2 * kv_heads) * model.head_dim, hidden, dtype, layers),
        Linear(hidden, heads * model.head_dim, dtype, layers),
    ]
    if model.num_linear_layers:
        inner = model.linear_output_size / size
        mixing = model.linear_parameters / hidden / size - inner
        found.append(Linear(mixing, hidden, dtype, model.num_linear_layers))
        found.append(Linear(hidden, inner, dtype, model.num_linear_layers))
    return found


def _feed_forward(model: Model, dtype: str, size: int) -> list[Linear]:
    """Return dense feed-forward layers, shared experts and routers."""
    hidden, ups = model.hidden_size, model.mlp_matrices - 1
    dense, moe = model.num_hidden_layers - model.num_moe_layers, model.num_moe_layers
    wide, shared = model.intermediate_size / size, model.shared_intermediate_size / size
    return [
        Linear(ups * wide, hidden, dtype, dense),
        Linear(hidden, wide, dtype, dense),
        Linear(ups * shared, hidden, dtype, moe if shared else 0),
        Linear(hidden, shared, dtype, moe if shared else 0),
        Linear(model.num_experts, hidden, "bf16", moe),
    ]


def _experts(model: Model, stored: str, size: int, expert_parallel: bool) -> Experts | None:
    if not model.is_moe:
        return None
    groups = size if expert_parallel else 1
    return Experts(
        shape=ExpertShape(
            hidden=model.hidden_size,
            width=model.moe_intermediate_size * groups / size,
            matrices=model.mlp_matrices,
            top_k=model.num_experts_per_tok,
            experts=model.num_experts,
            groups=groups,
        ),
        dtype=_law_name(model, stored),
        count=model.num_moe_layers,
    )


def _attention(model: Model, kv_dtype: str, size: int) -> list[Attention]:
    heads, layers = model.num_attention_heads / size, model.num_attention_layers
    if model.is_mla:
        key = model.qk_nope_head_dim + model.qk_rope_head_dim
        rank, rope = model.kv_lora_rank, model.qk_rope_head_dim
        return [Attention(heads, heads, key, model.v_head_dim, kv_dtype, layers, 0, rank, rope)]
    kv_heads = max(1.0, model.num_key_value_heads / size)
    sliding = model.num_sliding_layers
    both = ((layers - sliding, 0), (sliding, model.sliding_window or 0))
    return [
        Attention(heads, kv_heads, model.head_dim, model.head_dim, kv_dtype, count, window)
        for count, window in both
        if count
    ]


def _recurrence(model: Model, size: int) -> Recurrence | None:
    if not model.num_linear_layers:
        return None
    state = model.linear_state_elements / size
    # decay, outer product, sum and readout: four passes over the state, a multiply-add each
    return Recurrence(4.0 * state, 8.0 * state, model.num_linear_layers)


def _elementwise_bytes(model: Model, size: int) -> float:
    """Return the bytes of one token's norms, residual sums and activation on one device."""
    dense = (model.num_hidden_layers - model.num_moe_layers) * model.intermediate_size
    # what passes between the matrices of routed experts is theirs
    shared = model.num_moe_layers * model.shared_intermediate_size
    norms = 8 * model.hidden_size * model.num_hidden_layers
    return _BYTES * (norms + model.mlp_matrices * (dense + shared) / size)


def _elementwise(model: Model, size: int) -> list[Elementwise]:
    """Return norms, activations and rotary embeddings of a pass on one device."""
    layers, moe = model.num_hidden_layers, model.num_moe_layers
    kv_heads = max(1.0, model.num_key_value_heads / size)
    rotated = (model.num_attention_heads / size + kv_heads) * model.head_dim
    if model.is_mla:
        rotated = (model.num_attention_heads / size + 1) * model.qk_rope_head_dim
    found = [
        Elementwise("norm", model.hidden_size, 2 * layers + 1),
        Elementwise("activation", model.intermediate_size / size, layers - moe),
        Elementwise("activation", model.shared_intermediate_size / size, moe),
        Elementwise("rope", rotated, model.num_attention_layers if model.causal else 0),
    ]
    return [each for each in found if each.count and each.width]
