"""Emergent hits on a recorded trace, beside what an endless cache would hit by its hashes."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from hermes.scenario import build_scenario
from hermes.sim import simulate
from hermes.sim.simulation import SimulationResult

BLOCK = 512
TRACE = "traces/mooncake_fast25/conversation_trace.first_1800s.jsonl.gz"
REQUESTS = 1500


def known_tokens(path: Path, requests: int) -> tuple[int, int]:
    """Count, in order of arrival, the leading blocks that stood in an earlier prompt.

    The block with a prompt's last token is not counted: it is always computed.
    """
    known: set[int] = set()
    found = asked = 0
    with gzip.open(path, "rt") as lines:
        for _, line in zip(range(requests), lines, strict=False):
            row = json.loads(line)
            blocks = row["hash_ids"][: (row["input_length"] - 1) // BLOCK]
            leading = next((n for n, key in enumerate(blocks) if key not in known), len(blocks))
            found, asked = found + leading, asked + len(blocks)
            known.update(row["hash_ids"][: row["input_length"] // BLOCK])
    return found * BLOCK, asked * BLOCK


def replay(
    path: Path, capacity_gb: float | None, eviction: str = "lru", requests: int = REQUESTS
) -> SimulationResult:
    """Serve the trace, one request after another, from one engine and a fast store beside it."""
    tier = {
        "shared_by": "all",
        "bandwidth_gb_per_s": 1e6,
        "link_gb_per_s": 1e6,
        "eviction": eviction,
        **({} if capacity_gb is None else {"capacity_gb": capacity_gb}),
    }
    scenario = {
        "workload": {
            "requests": {"trace": "mooncake", "path": str(path)},
            "arrivals": {"process": "constant", "rate_per_s": 0.1},
            "limit": {"requests": requests},
        },
        "topology": {"tiers": {"store": tier}},
        "clients": {
            "chat": {
                "model": "llama-3.1-8b",
                "device": "h100-sxm",
                "block_size": BLOCK,
                "num_gpu_blocks_override": 1000,
                "max_num_batched_tokens": 200_000,
                "enable_prefix_caching": False,
                "max_model_len": 200_000,
                "kv_tiers": ["store"],
                "costs": {"linear": {"step_us": 10}},
            }
        },
    }
    return simulate(build_scenario(scenario), check=False)


@pytest.fixture
def trace(shared_data: Path) -> Path:
    return shared_data / TRACE


def test_an_endless_tier_hits_exactly_what_the_hashes_say(trace: Path) -> None:
    found, asked = known_tokens(trace, REQUESTS)
    (tier,) = replay(trace, None).tiers
    assert (tier.hit_tokens, tier.hit_tokens + tier.missed_tokens) == (found, asked)


def test_hits_fall_with_capacity_and_counting_uses_helps_where_little_fits(trace: Path) -> None:
    found, asked = known_tokens(trace, REQUESTS)
    rates = [replay(trace, capacity).tiers[0].hit_rate or 0.0 for capacity in (100.0, 300.0, 1e3)]
    assert rates == sorted(rates)
    assert 0 < rates[0] < rates[-1] < found / asked
    counting = replay(trace, 100.0, "s3fifo").tiers[0].hit_rate or 0.0
    assert counting > rates[0]


@pytest.mark.slow
def test_of_all_prompt_tokens_of_the_trace_as_many_are_fetched_as_can_be(trace: Path) -> None:
    result = replay(trace, None, requests=5719)
    assert result.requests.completed.all()
    prompts = int(result.requests.prompt_tokens.sum())
    assert result.tiers[0].hit_tokens / prompts == pytest.approx(0.3470, abs=1e-4)
