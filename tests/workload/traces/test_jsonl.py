"""JSON lines as such: whatever is wrong is one error with its line."""

from __future__ import annotations

import gzip
import json

import pytest

from hermes.errors import InputError
from hermes.workload import read_trace

GOOD = {"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [1, 2]}


@pytest.fixture
def read(tmp_path):
    path = tmp_path / "t.jsonl"

    def read(*lines):
        path.write_text("\n".join(lines))
        return read_trace("mooncake", path)

    return read


BAD_LINES = {
    "{": "is not a line of JSON: Expecting property name enclosed in double quotes at character",
    "[1]": "each line must hold a JSON object, got [1]",
    "null": "each line must hold a JSON object, got None",
    '{"a": 1} {"a": 1}': "is not a line of JSON: Extra data at character 10",
    "[" * 100_000: "is not a line of JSON: ",
    '{"timestamp": 1}': "the object lacks the field 'hash_ids' (it has: timestamp)",
    "{}": "the object lacks the field 'hash_ids' (it has: nothing)",
    json.dumps({**GOOD, "output_lenght": 3}): "unknown field 'output_lenght'; did you mean 'outp",
    json.dumps({**GOOD, "timestamp": "3"}): "timestamp: must be a whole number, 0 or more, got '3'",
    json.dumps({**GOOD, "timestamp": True}): "timestamp: must be a whole number, 0 or more, got Tr",
    json.dumps({**GOOD, "timestamp": 1.5}): "timestamp: must be a whole number, 0 or more, got 1.5",
    json.dumps({**GOOD, "timestamp": -1}): "timestamp: must be a whole number, 0 or more, got -1",
    json.dumps({**GOOD, "timestamp": 10**30}): "timestamp: must be a whole number, 0 or more",
    json.dumps({**GOOD, "timestamp": float("nan")}): "timestamp: must be a whole number, 0 or more",
    json.dumps({**GOOD, "input_length": 0}): "input_length: must be a whole number from 1 to 1000",
    json.dumps({**GOOD, "input_length": 600.5}): "input_length: must be a whole number from 1 to",
    json.dumps({**GOOD, "output_length": None}): "output_length: must be a whole number from 1 to",
    json.dumps({**GOOD, "hash_ids": 7}): "hash_ids: must be a list of whole numbers, got 7",
    json.dumps({**GOOD, "hash_ids": [7, "8"]}): "hash_ids: must be a list of whole numbers, 0 or",
    json.dumps({**GOOD, "hash_ids": [7, -8]}): "hash_ids: must be a list of whole numbers, 0 or",
}


@pytest.mark.parametrize("line", BAD_LINES, ids=lambda line: line[:40])
def test_a_bad_line_is_one_error_with_file_line_and_field(read, line):
    with pytest.raises(InputError) as caught:
        read(json.dumps(GOOD), "", line)
    assert caught.value.file.endswith("t.jsonl")
    assert caught.value.line == 3
    assert BAD_LINES[line] in str(caught.value)
    assert len(str(caught.value)) < 400


def test_blank_lines_are_skipped(read):
    assert len(read("", json.dumps(GOOD), "  ", "\r", "")) == 1


def test_a_file_of_blank_lines_is_no_trace(read):
    with pytest.raises(InputError, match=r"t\.jsonl: the trace holds no requests"):
        read("", "")


def test_gzip_is_told_by_the_content(tmp_path):
    (tmp_path / "t").write_bytes(gzip.compress(json.dumps(GOOD).encode()))
    assert len(read_trace("mooncake", tmp_path / "t")) == 1
