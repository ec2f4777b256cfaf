"""Dotted paths change one value and leave the rest, and the original, alone."""

from __future__ import annotations

import copy

import pytest

from hermes.errors import InputError
from hermes.scenario.overrides import apply_override, parse_override

BASE = {"clients": {"chat": {"replicas": 1, "serves": ["generate"]}}, "seed": 0}


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("seed", 3, {**BASE, "seed": 3}),
        ("slo.ttft_ms", 500, {**BASE, "slo": {"ttft_ms": 500}}),
        (
            "clients.chat.replicas",
            4,
            {"clients": {"chat": {"replicas": 4, "serves": ["generate"]}}, "seed": 0},
        ),
        (
            "clients.chat.serves.0",
            "decode",
            {"clients": {"chat": {"replicas": 1, "serves": ["decode"]}}, "seed": 0},
        ),
    ],
)
def test_one_value_changes(path: str, value: object, expected: dict[str, object]) -> None:
    before = copy.deepcopy(BASE)
    assert apply_override(BASE, path, value) == expected
    assert before == BASE


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("seed.deeper", "seed: is 0, a plain value"),
        ("clients.chat.replicas.x", "clients.chat.replicas: is 1, a plain value"),
        ("clients.chat.serves.7", "clients.chat.serves: is a list of 1"),
        ("clients.chat.serves.x", "clients.chat.serves: is a list of 1"),
    ],
)
def test_paths_that_lead_nowhere(path: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        apply_override(BASE, path, 1)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.b=4", ("a.b", 4)),
        ("a=1e3", ("a", 1000)),
        ("a=x=y", ("a", "x=y")),
        ("a=", ("a", None)),
        ("a={b: [1, 2]}", ("a", {"b": [1, 2]})),
        ("a='4'", ("a", "4")),
    ],
)
def test_values_are_read_as_yaml(text: str, expected: tuple[str, object]) -> None:
    assert parse_override(text) == expected


@pytest.mark.parametrize("text", ["a", "=1", "a..b=1", ".a=1", "a.=1", "a=[1"])
def test_what_is_no_override(text: str) -> None:
    with pytest.raises(InputError):
        parse_override(text)
