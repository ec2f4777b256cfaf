"""The lines that decode attention is read off: as long as they hold, and the same for all."""

from __future__ import annotations

import pytest

from hermes.catalog import find_device, find_model
from hermes.costs.compiled import CompiledStepCost
from hermes.costs.roofline import Roofline

SIZES = (1, 8, 32, 128, 512)


def compiled(model: str) -> CompiledStepCost:
    return CompiledStepCost(Roofline(find_model(model), find_device("h100"), "auto", "auto", 4))


@pytest.mark.parametrize("model", ["llama-3.1-8b", "gemma-3-27b", "mixtral-8x7b"])
def test_a_line_is_off_by_no_more_than_two_ten_thousandths_at_any_knot(model: str) -> None:
    costs = compiled(model)
    for sequences in SIZES:
        for knot in range(1, 90):
            context = costs._knots[knot]
            _, base, slope = costs.decode_segment(sequences, context)
            fixed = costs._token_ticks(sequences) + costs._row_ticks(sequences)
            exact = fixed + costs._at_knot(sequences, knot)
            assert base + slope * context == pytest.approx(exact, rel=2.01e-4)


def test_most_lines_of_a_dense_model_span_several_knots() -> None:
    costs = compiled("llama-3.1-8b")
    limits = {costs.decode_segment(8, context).limit for context in costs._knots[:88]}
    assert len(limits) <= 88 / 7


def test_lines_do_not_depend_on_where_they_are_asked_for_first() -> None:
    for sequences in SIZES:
        up, down = compiled("gemma-3-27b"), compiled("gemma-3-27b")
        contexts = up._knots[:80]
        rising = [up.decode_segment(sequences, context) for context in contexts]
        falling = [down.decode_segment(sequences, context) for context in reversed(contexts)]
        assert rising == falling[::-1]
