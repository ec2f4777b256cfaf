"""Sums of operators against whole steps that are made up."""

from __future__ import annotations

import pytest

from hermes.catalog import find_device, find_model
from hermes.costs.roofline import Roofline
from hermes.costs.tables import Call, CallTable, TablePass
from hermes.profile.point import measure
from hermes.profile.steps import StepShape, compare, step_shapes, step_sum

CALL = Call("linear", "bf16", (4096.0, 4096.0, 16.0), 40e-6)
COST = TablePass(
    Roofline(find_model("llama-3.1-8b"), find_device("h100")), CallTable([CALL], "t"), "t"
)


def test_a_constant_overhead_is_found_and_added():
    shapes = step_shapes(8, 512, 256)
    check = compare(COST, [(each, measure([step_sum(COST, each) + 1e-3])) for each in shapes])
    assert check.overhead_us == pytest.approx(1000)
    assert set(check.errors) == {"decode", "prefill", "mixed"}
    assert max(check.errors.values()) < 1e-9


def test_the_overhead_is_fitted_on_decodes_alone():
    decode, prompt = StepShape(4, 100), StepShape(0, 0, 1, 256)
    steps = [(decode, measure([step_sum(COST, decode)])), (prompt, measure([1.0]))]
    check = compare(COST, steps)
    assert check.overhead_us == 0
    assert check.errors.keys() == {"prefill"}
    assert [row["held_out"] for row in check.steps] == [False, True]


def test_steps_of_all_kinds_come_first():
    assert {each.kind for each in step_shapes(8, 512, 256)[:3]} == {"decode", "prefill", "mixed"}
