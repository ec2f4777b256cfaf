"""Lengths and shared prefixes of synthetic requests."""

from __future__ import annotations

import math

import numpy as np

from hermes.scenario.synthetic import (
    LengthRequests,
    PrefixRepetition,
    PrefixRepetitionRequests,
    Random,
    RandomRequests,
)
from hermes.scenario.workload import Drawn
from hermes.workload.lengths import draw_lengths
from hermes.workload.streams import stream
from hermes.workload.workload import Column, Prefixes

__all__ = ["draw_requests"]


def draw_requests(requests: Drawn, count: int, seed: int) -> tuple[Column, Column, Prefixes | None]:
    """Draw prompt tokens, output tokens and what prompts begin with, of `count` requests.

    Each request takes one draw for each of the three, whatever the parameters.
    """
    match requests:
        case LengthRequests(lengths=lengths):
            prompts = draw_lengths(lengths.prompt, count, stream(seed, "workload", "prompt"))
            outputs = draw_lengths(lengths.output, count, stream(seed, "workload", "output"))
            return prompts, outputs, None
        case RandomRequests(random=body):
            return _random(body, count, seed)
        case PrefixRepetitionRequests(prefix_repetition=repetition):
            return _prefix_repetition(repetition, count, seed)


def _random(body: Random, count: int, seed: int) -> tuple[Column, Column, Prefixes | None]:
    prompts = _around(body.prompt_tokens, body.range_ratio, count, seed, "prompt")
    outputs = _around(body.output_tokens, body.range_ratio, count, seed, "output")
    blocks = body.prefix_tokens // body.block_tokens
    prefixes = Prefixes(body.block_tokens, (tuple(range(blocks)),) * count) if blocks else None
    return prompts + np.int64(body.prefix_tokens), outputs, prefixes


def _around(middle: int, ratio: float, count: int, seed: int, name: str) -> Column:
    """Draw whole numbers around a middle, uniformly, both ends rounded outwards."""
    low = max(math.floor(middle * (1 - ratio)), 1)
    high = math.ceil(middle * (1 + ratio))
    drawn = stream(seed, "workload", name).random(count)
    lengths: Column = (low + np.floor(drawn * (high - low + 1))).astype(np.int64)
    return lengths


def _prefix_repetition(
    body: PrefixRepetition, count: int, seed: int
) -> tuple[Column, Column, Prefixes | None]:
    blocks = body.prefix_tokens // body.block_tokens
    heads = [tuple(range(n * blocks, (n + 1) * blocks)) for n in range(body.num_prefixes)]
    drawn = stream(seed, "workload", "prefix").random(count)
    picked = np.floor(drawn * body.num_prefixes).astype(np.int64)
    prefixes = Prefixes(body.block_tokens, tuple(heads[n] for n in picked.tolist()))
    prompts = np.full(count, body.prefix_tokens + body.suffix_tokens, dtype=np.int64)
    outputs = np.full(count, body.output_tokens, dtype=np.int64)
    return prompts, outputs, prefixes if blocks else None
