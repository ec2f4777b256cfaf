"""Strict YAML: numbers mean what they look like, and what is ambiguous is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.errors import InputError
from hermes.scenario.yaml import parse_scalar, parse_yaml, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("-7", -7),
        ("1e3", 1000),
        ("1.5e3", 1500.0),
        ("2e-3", 0.002),
        (".5", 0.5),
        ("true", True),
        ("null", None),
        ("h100-sxm", "h100-sxm"),
        ("llama-3.1-8b", "llama-3.1-8b"),
        ("1.2.3", "1.2.3"),
        ("2026-11-20", "2026-11-20"),
    ],
)
def test_plain_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    result = parse_scalar(text)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize("text", ["010", "1:30", "1_000", "no", "Yes", "on", "OFF", "y"])
def test_what_yaml_1_1_misreads_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="ambiguous"):
        parse_scalar(text)


def test_quotes_make_text() -> None:
    assert parse_yaml("a: '010'\nb: \"no\"\nc: |\n  1\n").value == {
        "a": "010",
        "b": "no",
        "c": "1\n",
    }


@given(st.integers(-(10**15), 10**15))
def test_integers_survive(number: int) -> None:
    assert parse_scalar(str(number)) == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_survive(number: float) -> None:
    assert parse_scalar(repr(number)) == number


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "given twice"),
        ("a: 1\nb: no\n", 2, "ambiguous"),
        ("a: 1\nb: [1, 2\n", 0, "not valid YAML"),
        ("a: !!python/object/apply:os.system [ls]\n", 1, "not allowed"),
        ("a: !env HOME\n", 1, "not allowed"),
        ("a: &x [1]\nb:\n  <<: *x\n", 3, "merge keys"),
        ("? [1, 2]\n: 3\n", 1, "plain word"),
        ("", 0, "empty"),
        ("a: " + "[" * 100 + "]" * 100, 1, "nested too deeply"),
    ],
)
def test_each_mistake_is_named_with_its_line(text: str, line: int, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parse_yaml(text, "file.yaml")
    if line:
        assert caught.value.line == line
    assert caught.value.file == "file.yaml"


def test_an_alias_bomb_is_refused_quickly() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    with pytest.raises(InputError, match="expands too far"):
        parse_yaml("\n".join(lines))


def test_a_self_referring_document_is_refused() -> None:
    with pytest.raises(InputError):
        parse_yaml("a: &a [*a]")


def test_lines_of_values_are_kept() -> None:
    document = parse_yaml("a: 1\nb:\n  c: 2\n  d: [3,\n    4]\n")
    assert document.lines[("b", "c")] == 3
    assert document.lines[("b", "d", 1)] == 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe\x00a", "not UTF-8"),
        (b"a: \x00", "not valid YAML"),
        (b"\ta: 1", "not valid YAML"),
    ],
)
def test_files_that_are_no_text(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_yaml(path)


def test_a_byte_order_mark_and_crlf_are_read(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    assert read_yaml(path).value == {"a": 1, "b": 2}


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_yaml(tmp_path / "nothing.yaml")
    with pytest.raises(InputError, match="directory"):
        read_yaml(tmp_path)
