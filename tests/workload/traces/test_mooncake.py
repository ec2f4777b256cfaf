"""Mooncake's traces: the layout, its traps, and what an infinite cache finds in the real one."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes.errors import InputError
from hermes.workload import TraceOptions, read_trace
from tests.workload.infinite_cache import engine_reuse, infinite_cache_reuse, one_at_a_time

FILE = "traces/mooncake_fast25/conversation_trace.first_1800s.jsonl.gz"


def line(timestamp, prompt, output, ids):
    fields = {"timestamp": timestamp, "input_length": prompt, "output_length": output}
    return json.dumps({**fields, "hash_ids": ids})


@pytest.fixture
def read(tmp_path):
    def read(*lines, **options):
        path = tmp_path / "mooncake.jsonl"
        path.write_text("\n".join(lines))
        return read_trace("mooncake", path, options=TraceOptions(**options))

    return read


def test_times_are_milliseconds_and_blocks_have_512_tokens(read):
    trace = read(line(0, 600, 5, [40, 41]), line(27482, 1024, 6, [40, 43]))
    assert trace.arrival_ticks.tolist() == [0, 27_482 * 10**9]
    assert trace.prompt_tokens.tolist() == [600, 1024]
    assert trace.output_tokens.tolist() == [5, 6]
    assert trace.prefixes.block_tokens == 512
    assert trace.prefixes.ids == ((0, 1), (0, 2))


def test_times_in_seconds_are_refused(read):
    with pytest.raises(InputError, match=r"mooncake\.jsonl:1: timestamp: must be a whole number"):
        read(line(27.482, 600, 5, [40, 41]))


@pytest.mark.parametrize("ids", [[40], [40, 41, 42], []])
def test_a_prompt_has_as_many_ids_as_its_tokens_make_blocks(read, ids):
    message = rf"jsonl:1: hash_ids: 600 prompt tokens make 2 blocks of 512, got {len(ids)} ids"
    with pytest.raises(InputError, match=message):
        read(line(0, 600, 5, ids))


def test_another_block_size_can_be_said(read):
    assert read(line(0, 33, 5, [1, 2, 3]), block_tokens=16).prefixes.block_tokens == 16


def test_a_line_twice_is_refused(read):
    with pytest.raises(InputError, match=r"mooncake\.jsonl:2: is the same request as the one abo"):
        read(*[line(3000, 600, 5, [40, 41])] * 2)


def test_equal_times_are_fine(read):
    assert len(read(line(3000, 600, 5, [40, 41]), line(3000, 600, 6, [40, 41]))) == 2


def test_a_time_that_goes_back_names_its_line(read):
    with pytest.raises(InputError, match=r"mooncake\.jsonl:2: .* arrives 0\.001 s before the one"):
        read(line(3000, 600, 5, [40, 41]), line(2999, 600, 5, [40, 41]))


def test_an_unused_option_is_refused(read):
    with pytest.raises(
        InputError, match=r"requests\.chars_per_token: the layout 'mooncake' has no"
    ):
        read(line(0, 600, 5, [40, 41]), chars_per_token=4)


def recorded(path, requests):
    with gzip.open(path, "rt") as lines:
        rows = [json.loads(text) for _, text in zip(range(requests), lines, strict=False)]
    return [(row["input_length"], row["hash_ids"]) for row in rows]


class TestInfiniteCache:
    """The engine with room for all finds exactly what the hashes of the trace say."""

    @pytest.mark.parametrize(("requests", "block_size"), [(5719, 512), (300, 16)])
    def test_the_real_trace(self, shared_data, monkeypatch, requests, block_size):
        path = shared_data / FILE
        expected = infinite_cache_reuse(recorded(path, requests), 512, block_size)
        scenario = one_at_a_time("mooncake", path, requests, block_size)
        assert engine_reuse(scenario) == expected

    def test_the_hit_rate_of_the_real_trace(self, shared_data):
        """Of all ids 34.1 % were there before; 34.7 % of the tokens need no prefill."""
        prompts = recorded(shared_data / FILE, 5719)
        seen: set[int] = set()
        hits = 0
        for _, ids in prompts:
            fresh = [block for block in ids if block not in seen]
            hits += len(ids) - len(fresh)
            seen.update(ids)
        assert (hits, sum(len(ids) for _, ids in prompts)) == (49_930, 146_464)
        reused = sum(infinite_cache_reuse(prompts, 512, 512))
        assert reused / sum(tokens for tokens, _ in prompts) == pytest.approx(0.3470, abs=1e-4)

    @settings(max_examples=25, deadline=None)
    @given(
        st.lists(
            st.tuples(st.integers(1, 1700), st.lists(st.integers(0, 1), min_size=4, max_size=4)),
            min_size=1,
            max_size=8,
        ),
        st.sampled_from([64, 512]),
    )
    def test_any_trace(self, tmp_path_factory, prompts, block_size):
        path = tmp_path_factory.mktemp("trace") / "t.jsonl"
        cut = [(tokens, ids[: -(-tokens // 512)]) for tokens, ids in prompts]
        rows = [line(at, tokens, at + 2, ids) for at, (tokens, ids) in enumerate(cut)]
        path.write_text("\n".join(rows))
        scenario = one_at_a_time("mooncake", path, len(cut), block_size)
        found = engine_reuse(scenario)
        assert found == infinite_cache_reuse(cut, 512, block_size)


def test_the_real_file(shared_data):
    trace = read_trace("mooncake", shared_data / FILE)
    assert len(trace) == 5719
    assert trace.arrival_ticks[-1] == 1797 * 10**12
    assert len(trace.prefixes.ids) == 5719
    assert sum(map(len, trace.prefixes.ids)) == 146_464
