"""How much a prefix cache without limits finds, counted from block ids alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hermes.scenario import build_scenario
from hermes.scenario.scenario import Scenario
from hermes.sim import simulate

__all__ = ["engine_reuse", "infinite_cache_reuse", "one_at_a_time"]


def infinite_cache_reuse(
    prompts: Sequence[tuple[int, Sequence[int]]], block_tokens: int, block_size: int
) -> list[int]:
    """Return the prompt tokens that each request finds, when they come one after the other.

    A full block of `block_size` tokens is found if an earlier prompt had the same, after the same
    blocks. The last token of a prompt is always computed, for something must be sampled from.

    Args:
        prompts: For each request, its prompt tokens and the ids of its blocks.
        block_tokens: Tokens of a block that has an id.
        block_size: Tokens of a block in the cache, which `block_tokens` is a multiple of.
    """
    parts = block_tokens // block_size
    children: list[dict[int, int]] = [{}]  # a tree of ids; a node is a head
    full_parts = [0]  # of each node's block, how much some prompt filled
    found = []
    for tokens, ids in prompts:
        node, hits, whole = 0, 0, True
        for place, block in enumerate(ids):
            if block not in children[node]:
                children[node][block] = len(children)
                children.append({})
                full_parts.append(0)
            node = children[node][block]
            here = min(tokens - place * block_tokens, block_tokens) // block_size
            if whole:
                hits += min(here, full_parts[node])
                whole = full_parts[node] == parts
            full_parts[node] = max(full_parts[node], here)
        found.append(min(hits, (tokens - 1) // block_size) * block_size)
    return found


def one_at_a_time(trace: str, path: Path, requests: int, block_size: int) -> Scenario:
    """Return a scenario of one replica whose cache holds all, with one request in it at a time."""
    return build_scenario(
        {
            "workload": {
                "requests": {"trace": trace, "path": str(path)},
                "arrivals": {"process": "constant", "rate_per_s": 0.01},
                "limit": {"requests": requests},
            },
            "clients": {
                "pool": {
                    "model": "llama-3.1-8b",
                    "device": "h100-sxm",
                    "costs": {"linear": {"step_us": 100}},
                    "block_size": block_size,
                    "num_gpu_blocks_override": 80_000_000 // block_size,
                    "max_num_batched_tokens": 200_000,
                    "enable_prefix_caching": True,
                }
            },
        }
    )


def engine_reuse(scenario: Scenario) -> list[int]:
    """Return the tokens that each request of a simulation found in the cache."""
    return simulate(scenario).requests.reused_tokens.tolist()
