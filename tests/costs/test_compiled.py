"""The compiled model: integers, close to the float model, the same for any of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.catalog import find_device, find_model
from hermes.costs.compiled import CompiledStepCost
from hermes.costs.roofline import Roofline
from hermes.costs.step import Spread

ROOFLINES = [
    Roofline(find_model(model), find_device(device), "auto", "auto", size)
    for model, device, size in [
        ("llama-3.1-8b", "h100", 1),
        ("gemma-2-27b", "a100", 2),
        ("DeepSeek-V3", "b200", 8),
    ]
]


@given(st.sampled_from(ROOFLINES), st.integers(1, 512), st.integers(1, 32_768))
def test_decode_segments_are_close_to_the_roofline(roofline, sequences, length):
    """Within 0.1 %, and 1 % where sliding windows end between two knots."""
    context = sequences * length
    segment = CompiledStepCost(roofline).decode_segment(sequences, context)
    exact = roofline.token_seconds(sequences) + roofline.row_seconds(sequences)
    exact += roofline.decode_seconds(sequences, context + sequences)
    assert context < segment.limit
    assert (segment.base + segment.slope * context) / 1e12 == pytest.approx(
        exact, rel=1e-2 if roofline is ROOFLINES[1] else 1e-3
    )


@given(
    st.sampled_from(ROOFLINES),
    st.integers(0, 256),
    st.integers(1, 8192),
    st.integers(0, 30_000),
)
def test_mixed_steps_are_within_two_thousandths_of_the_roofline(roofline, decodes, chunk, done):
    context = decodes * 1000
    pairs = chunk * done + chunk * (chunk + 1) // 2
    compiled = CompiledStepCost(roofline)
    ticks = compiled.step_ticks(decodes, context, chunk, done, pairs, decodes + 1)
    exact = roofline.token_seconds(decodes + chunk) + roofline.row_seconds(decodes + 1)
    exact += roofline.decode_seconds(decodes, context + decodes)
    exact += roofline.prefill_seconds(chunk, chunk + done, pairs)
    assert isinstance(ticks, int)
    assert ticks / 1e12 == pytest.approx(exact, rel=1e-2 if roofline is ROOFLINES[1] else 1e-3)


def test_answers_do_not_depend_on_what_was_asked_before():
    fresh, used = CompiledStepCost(ROOFLINES[0]), CompiledStepCost(ROOFLINES[0])
    for tokens in range(1, 3000, 7):
        used.step_ticks(3, 900, tokens, 0, tokens * tokens // 2, 4)
        used.decode_segment(tokens % 200 + 1, tokens * 90)
    for tokens in (1, 31, 32, 33, 640, 2047):
        question = (5, 4000, tokens, 10, tokens * 60, 6)
        assert used.step_ticks(*question) == fresh.step_ticks(*question)
        assert used.decode_segment(5, tokens * 99) == fresh.decode_segment(5, tokens * 99)


def test_the_host_adds_its_time_to_every_step_and_the_front_end_to_requests():
    bare, hosted = CompiledStepCost(ROOFLINES[0]), CompiledStepCost(ROOFLINES[0], 0.002, 0.03)
    assert hosted.decode_segment(8, 8000).base - bare.decode_segment(8, 8000).base == 2 * 10**9 - 1
    mixed = (2, 900, 300, 0, 45_150, 3)
    assert hosted.step_ticks(*mixed) - bare.step_ticks(*mixed) == 2 * 10**9 - 1
    assert (bare.request_ticks, hosted.request_ticks) == (0, 30 * 10**9)


def test_no_step_is_free():
    class Nothing:
        label = "nothing"
        spread = Spread(0.0, 0.0)

        def token_seconds(self, tokens: int) -> float:
            return 0.0

        row_seconds = token_seconds

        def decode_seconds(self, sequences: int, keys: int) -> float:
            return 0.0

        def prefill_seconds(self, tokens: int, keys: int, pairs: int) -> float:
            return 0.0

    free = CompiledStepCost(Nothing())
    assert free.decode_segment(1, 0).base >= 1
    assert free.step_ticks(0, 0, 1, 0, 1, 1) >= 1
