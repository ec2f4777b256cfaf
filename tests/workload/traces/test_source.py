"""Trace files as such: gzip, encodings, and files that cannot be read."""

from __future__ import annotations

import gzip
from contextlib import suppress

import pytest

from hermes.errors import InputError, UnknownNameError
from hermes.workload import read_trace, trace_names, trace_reader

TEXT = "arrival_ns,prompt_tokens,output_tokens\n" + "".join(f"{i},{i + 1},7\n" for i in range(5000))


def times(path):
    return read_trace("hermes", path).arrival_ticks.tolist()


EXPECTED = [i * 1000 for i in range(5000)]


def test_gzip_is_told_by_the_content(tmp_path):
    for name in ("t.csv.gz", "t.csv"):
        (tmp_path / name).write_bytes(gzip.compress(TEXT.encode()))
        assert times(tmp_path / name) == EXPECTED


@pytest.mark.parametrize(
    "data",
    [b"\xef\xbb\xbf" + TEXT.encode(), TEXT.replace("\n", "\r\n").encode(), TEXT.rstrip().encode()],
    ids=["byte order mark", "CRLF", "no last newline"],
)
def test_text_as_spreadsheets_write_it(tmp_path, data):
    (tmp_path / "t.csv").write_bytes(data)
    assert times(tmp_path / "t.csv") == EXPECTED


@pytest.mark.parametrize("kept", [10, 1000, -9, -1])
def test_truncated_gzip_says_where_the_text_ends(tmp_path, kept):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(TEXT.encode())[:kept])
    with pytest.raises(InputError, match="the gzip data is damaged or cut short") as caught:
        times(path)
    assert caught.value.file == str(path)
    assert caught.value.line >= 1


def test_every_flipped_byte_of_a_gzip_body_is_noticed_or_harmless(tmp_path):
    path, whole = tmp_path / "t.csv.gz", gzip.compress(TEXT.encode())
    for place in range(10, len(whole), 251):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        with suppress(InputError):
            assert times(path) == EXPECTED


@pytest.mark.parametrize("data", [TEXT.encode("utf-16"), b"\xff\xfe\x00", b"a\xe9b\n"])
def test_other_encodings_are_refused(tmp_path, data):
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(InputError, match=r"t\.csv:1: is not UTF-8 text"):
        times(tmp_path / "t.csv")


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf", gzip.compress(b"", mtime=0)])
def test_an_empty_file_is_refused(tmp_path, data):
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(InputError, match=r"t\.csv:1: there is no header"):
        times(tmp_path / "t.csv")


def test_an_endless_line_is_refused_before_it_fills_the_memory(tmp_path):
    bomb = gzip.compress(TEXT.encode() + b"1" * 10_000_000)
    (tmp_path / "t.csv.gz").write_bytes(bomb)
    with pytest.raises(InputError, match=r"t\.csv\.gz:5002: the line is longer than"):
        times(tmp_path / "t.csv.gz")


def test_binary_zeros_are_refused(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\0" * 100)
    with pytest.raises(InputError, match=r"t\.csv:1: "):
        times(tmp_path / "t.csv")


def test_a_missing_file_suggests_the_nearest(tmp_path):
    (tmp_path / "conv.csv.gz").touch()
    with pytest.raises(InputError) as caught:
        times(tmp_path / "conv.csv")
    assert caught.value.field == "workload.requests.path"
    assert "there is no file" in caught.value.message
    assert "did you mean 'conv.csv.gz'?" in caught.value.message


def test_a_missing_folder_is_said(tmp_path):
    with pytest.raises(InputError, match=r"its folder .* does not exist either"):
        times(tmp_path / "nowhere" / "conv.csv")


def test_a_folder_is_no_trace(tmp_path):
    with pytest.raises(InputError, match="is a folder, not a trace file"):
        times(tmp_path)


def test_a_path_that_no_system_takes_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot open"):
        times(tmp_path / "a\0b")


def test_an_unknown_reader_suggests_the_nearest(tmp_path):
    with pytest.raises(UnknownNameError) as caught:
        read_trace("azure2023", tmp_path / "t.csv")
    assert "unknown trace reader 'azure2023'; did you mean 'azure-2023'?" in str(caught.value)


def test_readers_are_listed_and_keep_their_names():
    assert {"azure-2023", "hermes"} <= set(trace_names())
    with pytest.raises(ValueError, match="already a trace reader called 'hermes'"):
        trace_reader("hermes")(lambda source: iter([]))
