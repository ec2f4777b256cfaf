"""LLMServingSim's workloads: tokens written out, hashes of them, or neither."""

from __future__ import annotations

import pytest

from hermes.errors import InputError
from hermes.workload import read_trace


def request(tokens, at=0, output=3, **more):
    return {"input_toks": tokens, "output_toks": output, "arrival_time_ns": at} | more


@pytest.fixture
def read(read_as):
    return read_as("llmservingsim")


def test_times_are_nanoseconds(read):
    trace = read(request(10, at=46_926_808), request(22, at=347_938_952))
    assert trace.arrival_ticks.tolist() == [46_926_808_000, 347_938_952_000]
    assert trace.prompt_tokens.tolist() == [10, 22]
    assert trace.prefixes is None


def test_prompts_that_begin_with_the_same_tokens_share_blocks(read):
    first, second = list(range(40)), [*range(32), *range(90, 110)]
    trace = read(request(40, input_tok_ids=first), request(52, input_tok_ids=second))
    assert trace.prefixes.ids == ((0, 1), (0, 1, 2))
    assert trace.prefixes.block_tokens == 16
    small = read(
        request(40, input_tok_ids=first), request(52, input_tok_ids=second), block_tokens=8
    )
    assert small.prefixes.ids[1][:4] == small.prefixes.ids[0][:4]
    assert len(small.prefixes.ids[1]) == 6


def test_hashes_count_full_blocks(read):
    assert read(request(40, hash_ids=[5, 6])).prefixes.ids == ((0, 1),)


BAD_LINES = [
    (request(40, hash_ids=[5, 6, 7]), "40 prompt tokens make 2 blocks of 16, got 3 ids; if the tr"),
    (request(40, input_tok_ids=[1]), "input_tok_ids: must hold the 40 tokens of input_toks, got 1"),
    (request(40, at=1.5), "arrival_time_ns: must be a whole number, 0 or more, got 1.5"),
    (request(0), "input_toks: must be a whole number from 1 to 100000000, got 0"),
    ({"input_toks": 3, "output_toks": 4}, "the object lacks the field 'arrival_time_ns' (it has: "),
    (
        {"session_id": "a", "arrival_time_ns": 0, "sub_requests": []},
        "sub_requests: an agentic session is closed-loop",
    ),
]


@pytest.mark.parametrize(("line", "message"), BAD_LINES, ids=lambda value: str(value)[:50])
def test_a_bad_line_is_one_error_with_file_line_and_field(read, line, message):
    with pytest.raises(InputError) as caught:
        read(request(1), line)
    assert caught.value.line == 2
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("file", "rows", "shared"),
    [
        ("sharegpt-llama-3.1-8b-300-sps10.lengths.jsonl.gz", 300, True),
        ("example_trace.jsonl", 10, True),
        ("workload_me2_01_mixed.jsonl", 608, False),
    ],
)
def test_the_real_files(shared_data, file, rows, shared):
    trace = read_trace("llmservingsim", shared_data / "traces" / "llmservingsim_sharegpt" / file)
    assert len(trace) == rows
    assert (trace.prefixes is not None) == shared
