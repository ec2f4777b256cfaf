"""Layers with a sliding window: how engines group layers so that one pool holds the KV of all.

Follows vLLM's hybrid KV cache manager (v1, 0.33). Layers of one kind are dealt into groups of an
equal number of layers, and a block holds some tokens of one group. Of a sequence, groups of layers
with a window hold only the blocks that the window of its next token reaches.
"""

from __future__ import annotations

from dataclasses import dataclass

from hermes.catalog import Model

__all__ = ["KvGroups", "kv_groups"]

_PADDED = 1.5  # up to so many times the fewer layers, all layers of the more frequent kind are one


@dataclass(frozen=True, slots=True)
class KvGroups:
    """Groups of layers that share a pool of KV blocks.

    Attributes:
        full: Groups whose layers attend to everything.
        sliding: Groups whose layers attend to a window; at least one.
        window: Tokens a window holds, the one that attends included.
        layers: Of each group; the last of a kind may have fewer, and wastes the rest.
    """

    full: int
    sliding: int
    window: int
    layers: int

    @property
    def total(self) -> int:
        """All groups: the blocks that a sequence takes for `block_size` tokens."""
        return self.full + self.sliding


def kv_groups(model: Model) -> KvGroups | None:
    """Return the groups of a model whose KV cache forgets; None where all layers keep everything.

    As many layers make a group as the rarer kind has, or as the other where it has less than half
    as many again. Chunked local attention and layers without a KV cache are not grouped here.
    """
    sliding = model.num_sliding_layers
    window = model.sliding_window
    if not sliding or not window or model.chunked_attention:
        return None
    if model.is_mla or model.num_linear_layers or not model.causal:
        return None
    full = model.num_hidden_layers - sliding
    if not full:
        return KvGroups(0, 1, window, sliding)
    fewer, more = sorted((full, sliding))
    layers = more if more < fewer * _PADDED else fewer
    return KvGroups(-(-full // layers), -(-sliding // layers), window, layers)
