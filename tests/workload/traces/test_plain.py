"""Hermes' own trace layout: exact times, and one clear error for every bad row."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.errors import InputError, UnknownNameError
from hermes.workload import TraceOptions, read_trace

NS = "arrival_ns,prompt_tokens,output_tokens"
S = "arrival_s,prompt_tokens,output_tokens"
LAST_NS = (2**63 - 1) // 1000


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    path = tmp_path_factory.mktemp("traces") / "t.csv"

    def read(*lines, pipelines=None, limit=None, block_tokens=None):
        path.write_text("\n".join(lines) + "\n")
        return read_trace("hermes", path, pipelines, limit, TraceOptions(block_tokens))

    return read


def test_columns_may_come_in_any_order_and_blank_lines_are_skipped(read):
    trace = read("output_tokens, arrival_ns ,prompt_tokens", "3,10,2", "", " 6 ,10,5", "")
    assert trace.arrival_ticks.tolist() == [10_000, 10_000]
    assert trace.prompt_tokens.tolist() == [2, 5]
    assert trace.output_tokens.tolist() == [3, 6]
    assert trace.pipeline is None


@given(st.lists(st.integers(0, LAST_NS), min_size=1).map(sorted))
def test_every_nanosecond_is_kept(read, times):
    """Also beyond 2**53, where a float would round."""
    trace = read(NS, *(f"{time},1,1" for time in times))
    assert trace.arrival_ticks.tolist() == [time * 1000 for time in times]


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1).map(sorted))
def test_every_digit_of_decimal_seconds_is_kept(read, ticks):
    trace = read(S, *(f"{time // 10**12}.{time % 10**12:012d},1,1" for time in ticks))
    assert trace.arrival_ticks.tolist() == ticks


@given(st.floats(0, 9e6))
def test_a_float_as_python_writes_it_is_read_to_the_nearest_tick(read, seconds):
    (tick,) = read(S, f"{seconds!r},1,1").arrival_ticks.tolist()
    assert abs(Decimal(seconds) * 10**12 - tick) <= Decimal("0.5") + Decimal(seconds) / 10**3


@pytest.mark.parametrize(
    ("text", "ticks"),
    [
        ("0", 0),
        ("-0.0", 0),
        ("+2", 2 * 10**12),
        (".5", 5 * 10**11),
        ("7.", 7 * 10**12),
        ("1e-05", 10**7),
        ("2.5E+1", 25 * 10**12),
        ("0.1234567890123", 123_456_789_012),
        ("1e-999", 0),
    ],
)
def test_seconds_may_be_written_in_any_usual_way(read, text, ticks):
    assert read(S, f"{text},1,1").arrival_ticks.tolist() == [ticks]


def test_a_limit_stops_reading(read):
    trace = read(NS, "1,1,1", "2,1,1", "broken", limit=2)
    assert len(trace) == 2


def test_pipelines_are_read_by_name(read):
    lines = [f"{NS},pipeline", "1,1,1,rag", "2,1,1, chat"]
    assert read(*lines, pipelines=["chat", "rag"]).pipeline.tolist() == [1, 0]
    assert read(*lines).pipeline is None


def test_an_unknown_pipeline_names_its_line_and_the_nearest(read):
    with pytest.raises(UnknownNameError) as caught:
        read(f"{NS},pipeline", "1,1,1,chat", "2,1,1,chta", pipelines=["chat", "rag"])
    assert caught.value.line == 3
    assert caught.value.field == "pipeline"
    assert "unknown pipeline 'chta'; did you mean 'chat'? (allowed: chat, rag)" in str(caught.value)


BAD_ROWS = {
    "x,1,1": "arrival_ns: must be a whole number, 0 or more, got 'x'",
    "-1,1,1": "arrival_ns: must be a whole number, 0 or more, got '-1'",
    "1.5,1,1": "arrival_ns: must be a whole number, 0 or more, got '1.5'",
    "nan,1,1": "arrival_ns: must be a whole number, 0 or more, got 'nan'",
    ",1,1": "arrival_ns: must be a whole number, 0 or more, got ''",
    "1_000,1,1": "arrival_ns: must be a whole number, 0 or more, got '1_000'",
    "\u00b2,1,1": "arrival_ns: must be a whole number, 0 or more, got '\u00b2'",
    "9" * 5000 + ",1,1": "arrival_ns: must be a whole number, 0 or more, got '999",
    "9,0,1": "prompt_tokens: must be a whole number from 1 to 100000000, got '0'",
    "9,1,0": "output_tokens: must be a whole number from 1 to 100000000, got '0'",
    "9,1,-3": "output_tokens: must be a whole number, 0 or more, got '-3'",
    "9,1.5,1": "prompt_tokens: must be a whole number, 0 or more, got '1.5'",
    "9,1000000000,1": "prompt_tokens: must be a whole number from 1 to 100000000, got '1000000000'",
    "9,1,NaN": "output_tokens: must be a whole number, 0 or more, got 'NaN'",
    "9,1": "the row has 2 cells, the header 3",
    "9,1,1,1": "the row has 4 cells, the header 3",
    "7,1,1": "arrives 0.000000001 s before the one above it",
    "9223372036854776,1,1": "end within 106 days, got 9223372.036854776 s",
    '9,"1,1': "is not well-formed CSV: unexpected end of data",
    '9,"1"x,1': "is not well-formed CSV: ',' expected after '\"'",
}


@pytest.mark.parametrize("row", BAD_ROWS, ids=lambda row: row[:20])
def test_a_bad_row_is_one_error_with_file_line_and_column(read, row):
    with pytest.raises(InputError) as caught:
        read(NS, "8,1,1", row)
    assert caught.value.file.endswith("t.csv")
    assert caught.value.line == 3
    assert BAD_ROWS[row] in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("text", ["-1", "-0.5", "nan", "inf", "1e9999", "0x1", "1,5", "--1", "1e"])
def test_bad_seconds_are_refused(read, text):
    with pytest.raises(InputError, match=r"t\.csv:2: arrival_s: must be a number of seconds, 0 or"):
        read(S, f'"{text}",1,1')


@pytest.mark.parametrize("text", ["9300000", "1e8", "1e300"])
def test_seconds_beyond_106_days_are_refused(read, text):
    with pytest.raises(InputError, match=r"t\.csv:2: .*within 106 days"):
        read(S, f"{text},1,1")


def test_an_empty_pipeline_is_refused(read):
    with pytest.raises(InputError, match=r"t\.csv:2: pipeline: must be the name of a pipeline"):
        read(f"{NS},pipeline", "1,1,1,", pipelines=["chat"])


BAD_HEADERS = {
    "": "there is no header; the first line must hold prompt_tokens,output_tokens",
    "arrival_ns,prompt_tokens": "the header lacks the column 'output_tokens'",
    "prompt_tokens,output_tokens": "one of arrival_s and arrival_ns, it has neither",
    f"{NS},arrival_s": "one of arrival_s and arrival_ns, it has both",
    f"{NS},pipline": "unknown column 'pipline'; did you mean 'pipeline'?",
    f"{NS},arrival_ns": "the header has the column 'arrival_ns' twice",
    "1,2,3": "unknown column '1' (allowed: arrival_ns, arrival_s, block_ids, block_tokens, ",
}


@pytest.mark.parametrize("header", BAD_HEADERS)
def test_a_bad_header_is_one_error_in_line_1(read, header):
    with pytest.raises(InputError) as caught:
        read(header, "1,1,1,1")
    assert (caught.value.line, BAD_HEADERS[header] in str(caught.value)) == (1, True)


def test_a_header_alone_is_no_trace(read):
    with pytest.raises(InputError, match=r"t\.csv: the trace holds no requests"):
        read(NS)


def test_too_many_rows_are_refused(read, monkeypatch):
    monkeypatch.setattr("hermes.workload.traces.trace.MAX_REQUESTS", 2)
    with pytest.raises(InputError, match=r"t\.csv:4: a workload holds at most 2 requests"):
        read(NS, "1,1,1", "1,1,1", "1,1,1")


def test_attributes_are_kept_by_name(read):
    header = f"attribute.calls,{NS},priority,attribute.images"
    trace = read(header, "3,0,9,8,1,0", "0,5,9,8,2,7")
    assert {name: column.tolist() for name, column in trace.attributes.items()} == {
        "calls": [3, 0],
        "images": [0, 7],
    }
    assert trace.priority is not None
    assert trace.priority.tolist() == [1, 2]


def test_a_trace_without_attributes_has_none(read):
    assert read(NS, "0,1,1").attributes == {}


@pytest.mark.parametrize("cell", ["-1", "", "1.5", "many", "9" * 19, "9" * 25])
def test_an_attribute_is_a_whole_number(read, cell):
    with pytest.raises(InputError, match="whole number") as caught:
        read(f"{NS},attribute.calls", "0,1,1,2", f"1,1,1,{cell}")
    assert caught.value.field == "attribute.calls"
    assert caught.value.line == 3


@pytest.mark.parametrize("column", ["attribute.", "attributes.calls", "attribut.calls"])
def test_a_misspelt_attribute_is_an_unknown_column(read, column):
    with pytest.raises(InputError, match="unknown column"):
        read(f"{NS},{column}", "0,1,1,1")


def test_a_limit_limits_attributes_too(read):
    assert read(f"{NS},attribute.a", "0,1,1,1", "1,1,1,2", limit=1).attributes["a"].tolist() == [1]
