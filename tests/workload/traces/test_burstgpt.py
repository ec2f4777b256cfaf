"""BurstGPT: two layouts, failed requests, and files that begin hundreds of days in."""

from __future__ import annotations

import pytest

from hermes.errors import InputError
from hermes.workload import read_trace

OLD = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type"
NEW = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type"


@pytest.fixture
def read(read_as):
    return read_as("burstgpt")


def test_times_count_from_the_first_row(read):
    trace = read(OLD, "5,ChatGPT,472,18,490,Conversation log", "45,GPT-4,1087,230,1317,API log")
    assert trace.arrival_ticks.tolist() == [0, 40 * 10**12]
    assert trace.prompt_tokens.tolist() == [472, 1087]
    assert trace.output_tokens.tolist() == [18, 230]
    assert trace.session is None


def test_later_files_begin_beyond_the_longest_simulation_and_have_sessions(read):
    trace = read(
        NEW,
        "19440110.0,1722ac82,43,GPT-4,906,446,1352,Conversation log",
        "19440161.5,d5983bf9,2,ChatGPT,36,29,65,Conversation log",
        "19440162.0,,2,ChatGPT,36,29,65,API log",
        "19440163.0,1722ac82,2,ChatGPT,36,29,65,Conversation log",
    )
    assert trace.arrival_ticks.tolist() == [0, 51_500 * 10**9, 52 * 10**12, 53 * 10**12]
    assert trace.session.tolist() == [0, 1, -1, 0]


def test_failed_requests_are_left_out_and_counted(read):
    trace = read(OLD, "5,GPT-4,472,0,472,API log", "45,GPT-4,87,3,90,API log")
    assert trace.arrival_ticks.tolist() == [40 * 10**12]
    assert trace.notes == ("without a response, left out: 1",)


def test_a_file_of_failures_is_no_trace(read):
    with pytest.raises(InputError, match="the trace holds no requests"):
        read(OLD, "5,GPT-4,472,0,472,API log")


BAD_ROWS = {
    "5,GPT-4,472,18,491,API log": "Total tokens: must be the sum of the two others, 490, got 491",
    "5,GPT-4,472,490,18,API log": "Total tokens: must be the sum of the two others, 962, got 18",
    "5,GPT-4,472.5,18,490.5,API log": "Request tokens: must be a whole number, 0 or more, got '4",
    "5,GPT-4,-472,490,18,API log": "Request tokens: must be a whole number, 0 or more, got '-472'",
    "x,GPT-4,472,18,490,API log": "Timestamp: must be a number of seconds, 0 or more, got 'x'",
    "4,GPT-4,472,18,490,API log": "arrives 1 s before the one above it",
    "5,GPT-4,472,18,490": "the row has 5 cells, the header 6",
}


@pytest.mark.parametrize("row", BAD_ROWS)
def test_a_bad_row_is_one_error_with_file_line_and_column(read, row):
    with pytest.raises(InputError) as caught:
        read(OLD, "0,GPT-4,1,1,2,API log", "5,GPT-4,1,1,2,API log", row)
    assert caught.value.line == 4
    assert BAD_ROWS[row] in str(caught.value)


def test_the_published_rows(shared_data):
    folder = shared_data / "traces" / "burstgpt"
    first = read_trace("burstgpt", folder / "BurstGPT_1.layout_sample.csv")
    assert first.arrival_ticks.tolist() == [0, 40 * 10**12, 113 * 10**12]
    third = read_trace("burstgpt", folder / "BurstGPT_3.layout_sample.csv")
    assert third.session.tolist() == [0, 1, 2, 3]


def test_a_reconstructed_slice_is_not_the_layout(shared_data):
    path = shared_data / "traces" / "burstgpt" / "BurstGPT_1.rows_000-249.reconstructed.csv"
    with pytest.raises(InputError, match=r":1: the header has an unknown column 'row_index'"):
        read_trace("burstgpt", path)
