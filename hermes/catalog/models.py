"""Language models as architectures: the dimensions that decide their size and their work.

Field names are those of a Hugging Face `config.json`. A model is found by its Hugging Face id, by
the last part of it in any case, or by the path of a `config.json`.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields, replace
from functools import cache
from pathlib import Path

from hermes.catalog.tables import aliases, read_table
from hermes.errors import InputError, UnknownNameError, did_you_mean

__all__ = ["Model", "find_model", "model_names"]

_FP8 = "-fp8"
_IN_BLOCKS = frozenset({"Qwen", "zai-org"})
"""Who publishes checkpoints called `...-FP8` with a scale for every block of 128 x 128."""


@dataclass(frozen=True, slots=True)
class Model:
    """A transformer: a decoder, dense or mixture of experts, or an encoder.

    Attention is grouped or latent; some layers may keep a recurrent state in its place.
    """

    name: str
    num_hidden_layers: int
    hidden_size: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    gated_mlp: bool
    vocab_size: int
    max_position_embeddings: int | None
    tie_word_embeddings: bool
    sliding_window: int | None
    num_sliding_layers: int
    """Layers that attend to the window only; 0 where every layer attends fully."""
    num_experts: int
    """Routed experts of a layer; 0 for a dense model, as are the six fields below."""
    num_experts_per_tok: int
    num_shared_experts: int
    moe_intermediate_size: int
    shared_intermediate_size: int
    """Width of all shared experts together."""
    first_k_dense_replace: int
    """Layers at the start that stay dense."""
    q_lora_rank: int
    """Rank of the query projection of latent attention; 0 where it is full."""
    kv_lora_rank: int
    """Rank of the latent that is cached in place of keys and values; 0 without latent attention."""
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    weight_dtype: str
    source: str
    moe_layer_step: int = 1
    """Of the layers that may hold experts, every how manieth does."""
    causal: bool = True
    """Whether a token attends to those before it only; encoders attend both ways."""
    gated_attention: bool = False
    """Whether the query projection gives a gate of its own width."""
    num_linear_layers: int = 0
    """Layers with linear attention or a state space in place of attention over a cache."""
    linear_parameters: int = 0
    """Of the projections of one such layer."""
    linear_output_size: int = 0
    """Width that such a layer projects back to the hidden size."""
    linear_state_elements: int = 0
    """Values of the state that such a layer keeps for a sequence."""
    chunked_attention: bool = False
    """Whether the window is a chunk: it does not slide, but begins anew."""

    @property
    def is_moe(self) -> bool:
        """Whether some layers route tokens to experts."""
        return self.num_experts > 0

    @property
    def is_mla(self) -> bool:
        """Whether attention caches one latent in place of keys and values."""
        return self.kv_lora_rank > 0

    @property
    def num_moe_layers(self) -> int:
        """Layers that hold experts."""
        if not self.is_moe:
            return 0
        step = self.moe_layer_step
        return sum(
            (layer + 1) % step == 0
            for layer in range(self.first_k_dense_replace, self.num_hidden_layers)
        )

    @property
    def num_attention_layers(self) -> int:
        """Layers that attend over cached keys and values."""
        return self.num_hidden_layers - self.num_linear_layers

    @property
    def mlp_matrices(self) -> int:
        """Matrices of one feed-forward block: up and down, and the gate where there is one."""
        return 3 if self.gated_mlp else 2

    @property
    def query_parameters(self) -> int:
        """Parameters of one layer's attention that split over the heads."""
        hidden, heads = self.hidden_size, self.num_attention_heads
        if not self.is_mla:
            return (3 if self.gated_attention else 2) * hidden * heads * self.head_dim
        query = (
            (self.q_lora_rank or hidden) * heads * (self.qk_nope_head_dim + self.qk_rope_head_dim)
        )
        key_value = self.kv_lora_rank * heads * (self.qk_nope_head_dim + self.v_head_dim)
        return query + key_value + heads * self.v_head_dim * hidden

    @property
    def key_value_parameters(self) -> int:
        """Parameters of one layer's attention that split over the KV heads, or not at all."""
        if not self.is_mla:
            return 2 * self.hidden_size * self.num_key_value_heads * self.head_dim
        return self.hidden_size * (self.q_lora_rank + self.kv_lora_rank + self.qk_rope_head_dim)

    @property
    def expert_parameters(self) -> int:
        """Parameters of one routed expert."""
        return self.mlp_matrices * self.hidden_size * self.moe_intermediate_size

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the token embedding, which are those of the LM head too."""
        return self.vocab_size * self.hidden_size

    @property
    def total_parameters(self) -> int:
        """All weights: embeddings counted, norms and biases not."""
        return self._parameters(self.num_experts)

    @property
    def active_parameters(self) -> int:
        """Weights that one token passes, embeddings counted."""
        return self._parameters(self.num_experts_per_tok)

    @property
    def kv_elements_per_token(self) -> int:
        """Values cached for one token over all layers."""
        if self.is_mla:
            return self.num_attention_layers * (self.kv_lora_rank + self.qk_rope_head_dim)
        return 2 * self.num_attention_layers * self.num_key_value_heads * self.head_dim

    def _parameters(self, experts: int) -> int:
        """Return the weights with *experts* routed experts in every layer that has some."""
        moe_layers = self.num_moe_layers
        dense_layers = self.num_hidden_layers - moe_layers
        attention = self.query_parameters + self.key_value_parameters
        dense = self.mlp_matrices * self.hidden_size * self.intermediate_size
        shared = self.mlp_matrices * self.hidden_size * self.shared_intermediate_size
        router = self.hidden_size * self.num_experts
        moe = experts * self.expert_parameters + shared + router
        mixing = self.num_attention_layers * attention
        mixing += self.num_linear_layers * self.linear_parameters
        layers = mixing + dense_layers * dense + moe_layers * moe
        return layers + self.embedding_parameters * (1 if self.tie_word_embeddings else 2)


def model_names() -> tuple[str, ...]:
    """Return the catalog's models by their Hugging Face ids, in its order."""
    return tuple(_catalog())


def find_model(name: str, folder: Path | None = None) -> Model:
    """Return the model called *name*.

    Args:
        name: A Hugging Face id, its last part in any case, or the path of a `config.json`
            (or of the folder it lies in).
        folder: Where a relative path starts: the folder of the scenario file.

    Raises:
        UnknownNameError: No model is called that, and there is no such file.
        InputError: The file describes no model that Hermes can cost.
    """
    found = _aliases().get(name.lower())
    if found is not None:
        return _catalog()[found]
    in_blocks = _in_blocks(name)
    if in_blocks is not None:
        return in_blocks
    path = (folder or Path()) / Path(name).expanduser()
    if path.is_dir():
        path /= "config.json"
    if path.is_file():
        from hermes.catalog.huggingface import read_config  # it imports Model

        return read_config(path)
    if name.endswith(".json"):
        raise InputError(f"no such file: {path}")
    names = model_names() if "/" in name else [known.split("/")[-1] for known in model_names()]
    hint = "the path of a Hugging Face config.json works too"
    raise UnknownNameError(f"unknown model {name!r}{did_you_mean(name, names)}; {hint}")


def _in_blocks(name: str) -> Model | None:
    """Return the checkpoint in 8 bits, one scale to a block, that a model's makers publish."""
    base = _aliases().get(name.lower().removesuffix(_FP8))
    if base is None or not name.lower().endswith(_FP8) or base.split("/")[0] not in _IN_BLOCKS:
        return None
    return replace(_catalog()[base], name=base + _FP8.upper(), weight_dtype="fp8")


@cache
def _catalog() -> dict[str, Model]:
    """Return the packaged models by Hugging Face id."""
    return {row["name"]: _from_row(row) for row in read_table("models.csv")}


@cache
def _aliases() -> dict[str, str]:
    """Return the catalog's id for every lower-case id, alias, and last part of either."""
    known: dict[str, str] = {}
    for row in read_table("models.csv"):
        for name in (row["name"], *aliases(row)):
            known.setdefault(name.lower(), row["name"])
            known.setdefault(name.lower().split("/")[-1], row["name"])
    return known


def _from_row(row: dict[str, str]) -> Model:
    """Return the model of one row of the catalog."""
    values: dict[str, str | int | bool | None] = {}
    for spec in fields(Model):
        cell = row.get(spec.name) or ""
        if not cell and spec.default is not MISSING:
            continue
        if spec.type == "str":
            values[spec.name] = cell
        elif spec.type == "bool":
            values[spec.name] = cell == "true"
        else:
            values[spec.name] = int(cell) if cell else None
    return Model(**values)  # type: ignore[arg-type]  # the table's columns are the fields
