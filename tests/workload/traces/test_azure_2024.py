"""Azure's 2024 traces: stamps with a zone, with and without a fraction."""

from __future__ import annotations

import pytest

from hermes.errors import InputError
from hermes.workload import read_trace

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens"


@pytest.fixture
def read(read_as):
    return lambda *lines: read_as("azure-2024")(HEADER, *lines)


def test_stamps_with_and_without_a_fraction_may_be_mixed(read):
    trace = read(
        "2024-05-12 00:00:00.001163+00:00,1452,3",
        "2024-05-12 00:00:01+00:00,584,3",
        "2024-05-12 00:00:01.5+00:00,862,38",
    )
    assert trace.arrival_ticks.tolist() == [0, 998_837_000_000, 1_498_837_000_000]
    assert trace.prompt_tokens.tolist() == [1452, 584, 862]


def test_a_zone_counts(read):
    trace = read(
        "2024-05-12 00:00:00+00:00,1,1",
        "2024-05-12 02:00:01+02:00,1,1",
        "2024-05-11 14:30:02-09:30,1,1",
    )
    assert trace.arrival_ticks.tolist() == [0, 10**12, 2 * 10**12]


@pytest.mark.parametrize(
    "stamp",
    [
        "2024-05-12 00:00:00.5",
        "2024-05-12T00:00:00+00:00",
        "1715472000",
        "",
        "2024-05-12 00:00:60Z",
    ],
)
def test_a_bad_time_is_one_error_with_line_and_column(read, stamp):
    with pytest.raises(InputError) as caught:
        read("2024-05-12 00:00:00+00:00,1,1", f"{stamp},1,1")
    assert (caught.value.line, caught.value.field) == (3, "TIMESTAMP")
    assert "must be a time like 2024-05-10 00:00:00.009930+00:00, got" in caught.value.message


def test_files_of_one_year_are_not_those_of_the_other(read_as):
    with pytest.raises(InputError, match="must be a time like 2023-11-16"):
        read_as("azure-2023")(HEADER, "2024-05-12 00:00:00+00:00,1,1")


def test_a_time_that_goes_back_names_its_line(read):
    with pytest.raises(InputError, match=r"trace:3: requests must be in order of time"):
        read("2024-05-12 00:00:01+00:00,1,1", "2024-05-12 00:00:00+00:00,1,1")


@pytest.mark.parametrize("name", ["code", "conv"])
def test_the_published_rows(shared_data, name):
    """The sample holds the first and the last five rows of a week."""
    folder = shared_data / "traces" / "azure_llm_2024_layout"
    trace = read_trace(
        "azure-2024", folder / f"AzureLLMInferenceTrace_{name}_1week.layout_sample.csv"
    )
    assert len(trace) == 10
    assert trace.arrival_ticks[-1] / 10**12 == pytest.approx(7 * 86_400, abs=1)
