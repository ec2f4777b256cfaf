"""Azure's 2023 traces: the layout, and the real files where they are at hand."""

from __future__ import annotations

import hashlib

import pytest

from hermes.errors import InputError
from hermes.workload import read_trace

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens"


@pytest.fixture
def read(tmp_path):
    def read(*lines):
        path = tmp_path / "azure.csv"
        path.write_text("\r\n".join([HEADER, *lines]))
        return read_trace("azure-2023", path)

    return read


def test_times_are_exact_and_start_at_the_first_row(read):
    trace = read(
        "2023-11-16 18:15:46.6805900,374,44",
        "2023-11-16 18:15:46.6805901,396,109",
        "2023-11-16 18:15:47,1,2",
        "2023-11-17 00:00:00.5,3,4",
    )
    assert trace.arrival_ticks.tolist() == [
        0,
        100_000,
        319_410_000_000,
        20_653_819_410_000_000,
    ]
    assert trace.prompt_tokens.tolist() == [374, 396, 1, 3]
    assert trace.output_tokens.tolist() == [44, 109, 2, 4]


@pytest.mark.parametrize(
    "stamp",
    [
        "",
        "NaN",
        "2023-11-16",
        "2023-11-16T18:15:47.1",
        "2023-13-16 18:15:47.1",
        "2023-02-29 18:15:47.1",
        "2023-11-16 24:15:47.1",
        "2023-11-16 18:15:47.",
        "2023-11-16 18:15:47.1+00:00",
        "1700158547.1",
        "-2023-11-16 18:15:47.1",
    ],
)
def test_a_bad_time_is_one_error_with_line_and_column(read, stamp):
    with pytest.raises(InputError) as caught:
        read("2023-11-16 18:15:46.6805900,374,44", f"{stamp},374,44")
    assert (caught.value.line, caught.value.field) == (3, "TIMESTAMP")
    assert caught.value.message.startswith("must be a time like 2023-11-16 18:15:46.6805900, got")
    assert repr(stamp) in caught.value.message


@pytest.mark.parametrize(
    ("cells", "column"),
    [
        ("x,44", "ContextTokens"),
        ("374,-1", "GeneratedTokens"),
        ("0,44", "ContextTokens"),
        ("374,0", "GeneratedTokens"),
        ("374,4.5", "GeneratedTokens"),
    ],
)
def test_a_bad_token_count_is_one_error_with_line_and_column(read, cells, column):
    with pytest.raises(InputError) as caught:
        read("2023-11-16 18:15:46,374,44", f"2023-11-16 18:15:47,{cells}")
    assert (caught.value.line, caught.value.field) == (3, column)


def test_a_time_that_goes_back_names_its_line(read):
    with pytest.raises(InputError, match=r"azure\.csv:4: .* 0\.6000001 s before the one above"):
        read(
            "2023-11-16 18:15:46.5,1,1",
            "2023-11-16 18:15:47,1,1",
            "2023-11-16 18:15:46.3999999,1,1",
        )


def test_a_row_twice_is_refused(read):
    with pytest.raises(InputError, match=r"azure\.csv:3: is the same request as the one above it"):
        read(*["2023-11-16 18:15:46.6805900,374,44"] * 2)


def test_a_trace_longer_than_106_days_is_refused(read):
    with pytest.raises(InputError, match=r"azure\.csv:3: .*106 days"):
        read("2023-01-01 00:00:00,1,1", "2023-11-16 18:15:46,1,1")


def test_the_header_of_another_layout_is_refused(tmp_path):
    path = tmp_path / "azure.csv"
    path.write_text("arrival_s,prompt_tokens,output_tokens\n1,1,1\n")
    with pytest.raises(
        InputError, match=r"azure\.csv:1: the header has an unknown column 'arrival_s"
    ):
        read_trace("azure-2023", path)


@pytest.mark.parametrize(
    ("name", "requests", "prompt_sum", "output_sum", "last_ticks", "digest"),
    [
        ("conv", 19_366, 22_361_870, 4_088_665, 3_501_721_937_000_000, "da65a645bd8b3faf"),
        ("code", 8_819, 18_059_974, 245_896, 3_435_948_056_000_000, "cdc690d411f6889f"),
    ],
)
def test_the_real_files(shared_data, name, requests, prompt_sum, output_sum, last_ticks, digest):
    folder = shared_data / "traces" / "azure_llm_2023"
    trace = read_trace("azure-2023", folder / f"AzureLLMInferenceTrace_{name}.csv.gz")
    columns = trace.arrival_ticks, trace.prompt_tokens, trace.output_tokens
    assert [len(column) for column in columns] == [requests] * 3
    assert trace.prompt_tokens.sum() == prompt_sum
    assert trace.output_tokens.sum() == output_sum
    assert trace.arrival_ticks[-1] == last_ticks
    sums = ",".join(str(sum(column.tolist())) for column in columns)
    assert hashlib.sha256(sums.encode()).hexdigest()[:16] == digest
    assert round(trace.prompt_tokens.mean()) == {"conv": 1155, "code": 2048}[name]
    assert round(trace.output_tokens.mean()) == {"conv": 211, "code": 28}[name]
