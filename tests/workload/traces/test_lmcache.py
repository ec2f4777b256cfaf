"""LMCache's agent calls: characters, overlapping calls, and calls without text."""

from __future__ import annotations

import pytest

from hermes.errors import InputError
from hermes.workload import read_trace
from tests.workload.infinite_cache import infinite_cache_reuse

HEADER = (
    "agent,session_id,call_index,timestamp_us,input_chars,output_chars,"
    "common_prefix_chars_with_previous_call"
)
T0 = 1_760_995_776_640_783
FILE = "traces/lmcache_agent/agent_calls_lengths.csv.gz"


@pytest.fixture
def read(read_as):
    return read_as("lmcache-agent")


def table(*rows):
    return [HEADER, *(",".join(map(str, row)) for row in rows)]


def test_characters_become_tokens(read):
    rows = table(("mag", "s", 0, T0, 401, 80, 0))
    assert read(*rows).prompt_tokens.tolist() == [101]
    assert read(*rows).output_tokens.tolist() == [20]
    assert read(*rows, chars_per_token=2.5).prompt_tokens.tolist() == [161]


def test_calls_are_sorted_by_time(read):
    """Calls of one session overlap and stand in the file as they ended."""
    trace = read(
        *table(
            ("mag", "s", 0, T0 + 3_000_000, 400, 4, 0),
            ("mag", "s", 1, T0, 800, 4, 0),
            ("mag", "t", 0, T0 + 1, 1200, 4, 0),
        )
    )
    assert trace.arrival_ticks.tolist() == [0, 10**6, 3 * 10**12]
    assert trace.prompt_tokens.tolist() == [200, 300, 100]
    assert trace.session.tolist() == [0, 1, 0]


def test_a_call_shares_with_the_call_above_it_in_the_file(read):
    trace = read(
        *table(
            ("mag", "s", 0, T0 + 9, 256, 4, 0),
            ("mag", "s", 1, T0, 384, 4, 200),
            ("mag", "s", 2, T0 + 10, 384, 4, 0),
        )
    )
    first, second, third = (trace.prefixes.ids[index] for index in (1, 0, 2))
    assert second[:3] == first[:3]  # 200 characters are 50 tokens, three blocks of 16
    assert not set(second[3:]) & set(first)
    assert not set(third) & {*first, *second}


def test_a_call_without_text_counts_as_one_token_and_is_counted(read):
    trace = read(*table(("mini", "s", 0, T0, 0, 0, 0), ("mini", "s", 1, T0, 4, 4, 0)))
    assert trace.prompt_tokens.tolist() == [1, 1]
    assert trace.notes == ("without an input or output text, which counts as one token: 1",)


def test_the_published_layout_holds_the_texts(read):
    def call(at, text):
        return {"timestamp": at, "input": text, "output": "done", "session_id": "s"}

    trace = read(call(T0 + 5, "x" * 128 + "abc"), call(T0, "x" * 100 + "y" * 100))
    assert trace.arrival_ticks.tolist() == [0, 5 * 10**6]
    assert trace.prompt_tokens.tolist() == [50, 33]
    second, first = trace.prefixes.ids
    assert (len(first), len(second)) == (2, 3)
    assert second[:1] == first[:1]
    assert second[1:] != first[1:]


BAD_ROWS = [
    (("m", "s", 0, T0, 4, 4, 0), "call_index: must rise within a session, got 0 after 0 in m/s"),
    (("m", "s", 1, T0 // 1000, 4, 4, 0), "timestamp_us: must be microseconds since 1970, so 16 di"),
    (("m", "s", 1, T0 * 1000, 4, 4, 0), "timestamp_us: must be microseconds since 1970, so 16 dig"),
    (("m", "s", 1, T0, 4.5, 4, 0), "input_chars: must be a whole number, 0 or more, got '4.5'"),
    (("m", "s", 1, T0, 4, 4, 5), "must be at most the 4 characters of the input, got '5'"),
]


@pytest.mark.parametrize(("row", "message"), BAD_ROWS)
def test_a_bad_row_is_one_error_with_file_line_and_column(read, row, message):
    with pytest.raises(InputError) as caught:
        read(*table(("m", "s", 0, T0, 4, 4, 0), row))
    assert caught.value.line == 3
    assert message in str(caught.value)


def test_the_real_calls(shared_data):
    trace = read_trace("lmcache-agent", shared_data / FILE)
    assert len(trace) == 1619
    assert trace.session.max() == 68
    assert trace.arrival_ticks[-1] / 10**12 / 86_400 == pytest.approx(6.639, abs=1e-3)
    prompts = list(zip(trace.prompt_tokens.tolist(), trace.prefixes.ids, strict=True))
    reused = sum(infinite_cache_reuse(prompts, 16, 16))
    assert reused / trace.prompt_tokens.sum() == pytest.approx(0.7202, abs=1e-4)


def test_a_limit_takes_the_earliest_calls(shared_data):
    whole = read_trace("lmcache-agent", shared_data / FILE)
    first = read_trace("lmcache-agent", shared_data / FILE, limit=100)
    assert first.arrival_ticks.tolist() == whole.arrival_ticks[:100].tolist()
