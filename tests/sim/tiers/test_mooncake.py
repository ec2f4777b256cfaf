"""Emergent hits on a recorded trace, beside what an endless cache would hit by its hashes."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hermes.sim.simulation import SimulationResult

BLOCK = 512
TRACE = "traces/mooncake_fast25/conversation_trace.first_1800s.jsonl.gz"
REQUESTS = 1500
BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
Replay = Callable[..., SimulationResult]


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


@pytest.fixture
def replay(monkeypatch: pytest.MonkeyPatch) -> Replay:
    """What serves the trace from one engine and a store beside it: `benchmarks/kv_tiers.py`."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import kv_tiers

    found: Replay = kv_tiers.replay
    return found


@pytest.fixture
def trace(shared_data: Path) -> Path:
    return shared_data / TRACE


def test_an_endless_tier_hits_exactly_what_the_hashes_say(trace: Path, replay: Replay) -> None:
    found, asked = known_tokens(trace, REQUESTS)
    (tier,) = replay(trace, None, requests=REQUESTS).tiers
    assert (tier.hit_tokens, tier.hit_tokens + tier.missed_tokens) == (found, asked)


def test_hits_fall_with_capacity_and_counting_uses_helps_where_little_fits(
    trace: Path, replay: Replay
) -> None:
    found, asked = known_tokens(trace, REQUESTS)
    rates = [
        replay(trace, capacity, requests=REQUESTS).tiers[0].hit_rate or 0.0
        for capacity in (100.0, 300.0, 1e3)
    ]
    assert rates == sorted(rates)
    assert 0 < rates[0] < rates[-1] < found / asked
    counting = replay(trace, 100.0, "s3fifo", REQUESTS).tiers[0].hit_rate or 0.0
    assert counting > rates[0]


@pytest.mark.slow
def test_of_all_prompt_tokens_of_the_trace_as_many_are_fetched_as_can_be(
    trace: Path, replay: Replay
) -> None:
    result = replay(trace, None, requests=5719)
    assert result.requests.completed.all()
    prompts = int(result.requests.prompt_tokens.sum())
    assert result.tiers[0].hit_tokens / prompts == pytest.approx(0.3470, abs=1e-4)
