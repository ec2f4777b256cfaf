"""Time of an encoder's batch: embeddings, and cross-encoders that rerank.

An encoder reads whole texts at once: every token attends to every other, nothing is cached, and no
token is sampled. A cross-encoder reads query and document as one text.
"""

from __future__ import annotations

from collections.abc import Sequence

from hermes.costs.pass_cost import PassCost

__all__ = ["encode_seconds"]


def encode_seconds(cost: PassCost, lengths: Sequence[int]) -> float:
    """Return the seconds of one batch of texts of some *lengths* in tokens, without padding."""
    tokens = sum(lengths)
    pairs = sum(length * length for length in lengths)
    return cost.token_seconds(tokens) + cost.prefill_seconds(tokens, tokens, pairs)
