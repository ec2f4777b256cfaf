"""Whatever the layout: the engine with room for all finds what the blocks of the trace say."""

from __future__ import annotations

import gzip
from itertools import islice

import pytest

from hermes.workload import read_trace
from tests.workload.infinite_cache import engine_reuse, infinite_cache_reuse, one_at_a_time


def expected(trace, block_size):
    prompts = list(zip(trace.prompt_tokens.tolist(), trace.prefixes.ids, strict=True))
    return infinite_cache_reuse(prompts, trace.prefixes.block_tokens, block_size)


@pytest.mark.parametrize(
    ("layout", "file", "requests", "share"),
    [
        (
            "llmservingsim",
            "llmservingsim_sharegpt/sharegpt-llama-3.1-8b-300-sps10.lengths.jsonl.gz",
            300,
            0.0759,
        ),
        ("lmcache-agent", "lmcache_agent/agent_calls_lengths.csv.gz", 400, 0.4268),
        ("ragpulse", "ragpulse/0_trace.first_5000.jsonl.gz", 200, 0.3104),
    ],
)
def test_real_traces(shared_data, monkeypatch, tmp_path, layout, file, requests, share):
    path = shared_data / "traces" / file
    for beside in path.parent.iterdir():
        (tmp_path / beside.name).symlink_to(beside)
    with gzip.open(path, "rt") as lines:
        (tmp_path / "trace").write_text("".join(islice(lines, requests)))
    trace = read_trace(layout, tmp_path / "trace")
    scenario = one_at_a_time(layout, tmp_path / "trace", requests, 16)
    reused = engine_reuse(scenario)
    assert reused == expected(trace, 16)
    assert sum(reused) / trace.prompt_tokens.sum() == pytest.approx(share, abs=1e-4)


def test_turns_of_a_session_find_the_prompt_before(tmp_path, monkeypatch):
    rows = ["0,100,20,a,1", "1,300,20,b,1", "2,160,20,a,2", "3,220,20,a,3", "4,90,20,a,4"]
    header = "arrival_s,prompt_tokens,output_tokens,session,turn"
    (tmp_path / "t.csv").write_text("\n".join([header, *rows]))
    scenario = one_at_a_time("hermes", tmp_path / "t.csv", 5, 16)
    reused = engine_reuse(scenario)
    assert reused == [0, 0, 96, 160, 0]
