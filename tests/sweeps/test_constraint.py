"""Constraints are parsed, never evaluated, and missed by a share of their limit."""

from __future__ import annotations

import pytest

from hermes.errors import InputError
from hermes.sweeps.constraint import Constraint, judge


@pytest.mark.parametrize(
    ("text", "value", "excess"),
    [("<= 500", 500, 0.0), ("<=500", 750, 0.5), ("<= 5e2", 250, -0.5), (">= 0.9", 0.45, 0.5),
     (">= .9", 0.9, 0.0), ("<= 0", 3, 3.0), (">= -2", -3, 0.5)],
)  # fmt: skip
def test_excess_is_relative_to_the_limit(text, value, excess):
    assert Constraint.parse("m", text).excess({"m": value}) == pytest.approx(excess)


def test_a_metric_without_a_value_misses_by_the_whole_limit():
    assert judge([Constraint.parse("m", "<= 5")], {"m": None}) == (False, 1.0)


def test_violations_add_up_and_slack_does_not_pay_for_them():
    limits = [Constraint.parse("a", "<= 10"), Constraint.parse("b", ">= 10")]
    assert judge(limits, {"a": 15, "b": 5}) == (False, 1.0)
    assert judge(limits, {"a": 1, "b": 5}) == (False, 0.5)
    assert judge(limits, {"a": 10, "b": 10}) == (True, 0.0)
    assert judge([], {}) == (True, 0.0)


@pytest.mark.parametrize("text", ["500", "< 500", "== 5", "<= 5 ms", "<= nan", "<= f()",
                                  "", "<= 1_000", "<= 5 >= 3"])  # fmt: skip
def test_anything_else_is_refused(text):
    with pytest.raises(InputError) as caught:
        Constraint.parse("ttft_ms.p99", text)
    assert repr(text) in str(caught.value)


def test_it_prints_as_reports_show_it():
    assert str(Constraint.parse("ttft_ms.p99", "<=  500.0")) == "ttft_ms.p99 <= 500"
