"""Words and numbers for people."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.results.report.wording import (
    metric_label,
    metric_text,
    number_text,
    plain,
    setting_text,
    short_names,
    value_text,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (3.0, "3"), (0.41234, "0.412"), (0.00012345, "0.000123"), (5.1234, "5.12"),
        (41.234, "41.2"), (412.34, "412"), (41234.5, "41,234"), (-2.5, "\u22122.50"),
        (float("nan"), "\u2013"), (float("inf"), "\u221e"),
    ],
)  # fmt: skip
def test_numbers_keep_three_digits(value, text):
    assert number_text(value) == text


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("cost_per_million_output_tokens", 1.756, "$1.76"),
        ("cost_per_million_output_tokens", 0.0123, "$0.012"),
        ("slo_attainment", 0.9951, "99.5 %"),
        ("ttft_ms.p99", 231.4, "231 ms"),
        ("devices", 16.0, "16"),
        ("ttft_ms.p99", float("nan"), "\u2013"),
    ],
)
def test_metrics_carry_their_unit(name, value, text):
    assert metric_text(name, value) == text


def test_labels_are_words_with_a_unit():
    assert metric_label("ttft_ms.p99") == "TTFT p99 (ms)"
    assert metric_label("request_goodput") == "Goodput (req/s)"
    assert metric_label("cost_per_hour") == "Cost per hour ($)"
    assert metric_label("duration_s") == "Duration (s)"
    assert metric_label("something_of_my_own") == "Something of my own"


def test_short_names_grow_until_they_differ():
    paths = ["clients.a.device", "clients.b.device", "clients.a.replicas"]
    assert list(short_names(paths).values()) == ["a.device", "b.device", "replicas"]


@given(st.lists(st.from_regex(r"[ab](\.[ab]){0,3}", fullmatch=True), unique=True))
def test_short_names_are_tails_and_tell_paths_apart(paths):
    names = short_names(paths)
    assert len(set(names.values())) == len(paths)
    assert all(path.endswith(name) for path, name in names.items())


def test_settings_read_as_one_would_jot_them_down():
    assert setting_text("tensor_parallel_size", 4) == "TP 4"
    assert setting_text("replicas", 1) == "1 replica"
    assert setting_text("prefill.device", "h100-sxm") == "prefill: h100-sxm"
    assert setting_text("enable_prefix_caching", True) == "enable_prefix_caching on"
    assert value_text(0.92) == "0.92"


@given(st.text())
def test_plain_text_is_one_short_line_without_control_characters(text):
    line = plain(text)
    assert len(line) <= 60
    assert line.isprintable() or line == ""
