"""Verifying drafts costs at least a plain decode, and drafting what its model's passes cost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.catalog import find_device, find_model
from hermes.costs.build import build_step_cost
from hermes.costs.linear import LinearStepCost
from hermes.costs.speculation import (
    DraftModelCost,
    FixedDraftCost,
    StepLoad,
    VerifyCost,
    verify_pairs,
)
from hermes.costs.step import StepCost
from hermes.scenario.costs import LinearCosts

FREE = FixedDraftCost(0)


def roofline(name: str = "llama-3.1-8b") -> StepCost:
    model, device = find_model(name), find_device("h100-sxm")
    return build_step_cost("roofline", model, device, "bf16", "bf16", 1)


def decodes(sequences: int, context: int, drafts: int) -> StepLoad:
    tokens = 1 + drafts
    pairs = drafts * context + sequences * (tokens * (tokens + 1) // 2 - 1)
    return StepLoad(sequences, sequences * tokens, context, pairs)


@given(st.integers(1, 9), st.integers(0, 300))
def test_pairs_of_drafts_are_those_a_query_at_a_time(tokens: int, context: int) -> None:
    assert verify_pairs(tokens, context) == sum(context + i for i in range(2, tokens + 1))


@pytest.mark.parametrize("sequences", [1, 7, 64, 256])
@pytest.mark.parametrize("length", [1, 500, 8000])
def test_without_drafts_a_step_costs_what_a_decode_costs(sequences: int, length: int) -> None:
    costs, context = roofline(), sequences * length
    _, base, slope = costs.decode_segment(sequences, context)
    load = decodes(sequences, context, drafts=0)
    assert VerifyCost(costs, FREE).ticks(load) == base + slope * context


@pytest.mark.parametrize("sequences", [1, 7, 64, 256])
@pytest.mark.parametrize("length", [1, 500, 8000])
def test_more_drafts_never_cost_less(sequences: int, length: int) -> None:
    verify, context = VerifyCost(roofline(), FREE), sequences * length
    ticks = [verify.ticks(decodes(sequences, context, drafts)) for drafts in range(9)]
    assert ticks == sorted(ticks)


def test_a_few_drafts_of_one_sequence_are_almost_free() -> None:
    """A decode of one sequence waits for memory, which drafts hardly read."""
    verify = VerifyCost(roofline(), FREE)
    plain, drafted = (verify.ticks(decodes(1, 1000, drafts)) for drafts in (0, 3))
    assert drafted < 1.1 * plain


def test_a_linear_cost_counts_drafts_as_tokens() -> None:
    costs = LinearStepCost(LinearCosts(step_us=100, token_us=10, context_token_ns=5))
    assert VerifyCost(costs, FREE).ticks(decodes(8, 4000, 3)) == (100 + 32 * 10 + 20) * 10**6


def test_a_fixed_time_is_added_where_drafts_are_verified() -> None:
    costs = LinearStepCost(LinearCosts(step_us=100))
    verify = VerifyCost(costs, FixedDraftCost(7))
    assert verify.ticks(decodes(8, 4000, 3)) == 100 * 10**6 + 7
    assert verify.ticks(StepLoad(0, 0, 0, 0, 50, 0, 1275, 1)) == 100 * 10**6


def test_a_draft_model_runs_once_for_each_draft() -> None:
    small = LinearStepCost(LinearCosts(step_us=10, token_us=1, context_token_ns=1000))
    large = LinearStepCost(LinearCosts(step_us=100))
    verify = VerifyCost(large, DraftModelCost(small, 3))
    passes = [10 + 8 + 4000, 10 + 8 + 4008, 10 + 8 + 4016]
    assert verify.ticks(decodes(8, 4000, 3)) == (100 + sum(passes)) * 10**6


def test_a_draft_model_takes_in_prompts_too() -> None:
    small = LinearStepCost(LinearCosts(step_us=10, token_us=1))
    verify = VerifyCost(LinearStepCost(LinearCosts(step_us=100)), DraftModelCost(small, 3))
    assert verify.ticks(StepLoad(0, 0, 0, 0, 50, 0, 1275, 1)) == (100 + 10 + 50) * 10**6


def test_a_small_model_drafts_faster_than_the_large_one_decodes() -> None:
    load = decodes(16, 16_000, 3)
    _, base, slope = roofline().decode_segment(16, 16_000)
    drafting = DraftModelCost(roofline("llama-3.2-1b"), 1).ticks(load)
    assert drafting < (base + slope * 16_000) / 3
