"""Speculative decoding is three numbers and a draft, and refuses what makes no sense."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from hermes.scenario.speculation import DraftModelSpec, DraftTimeSpec, SpeculativeSpec

NEEDED = {"num_speculative_tokens": 3, "acceptance_rate": 0.7}


def test_drafts_cost_nothing_unless_it_is_said():
    spec = SpeculativeSpec.model_validate(NEEDED)
    assert spec.mode == "expected"
    assert spec.draft == DraftTimeSpec(step_us=0.0)


def test_a_draft_is_a_model_or_a_time():
    model = SpeculativeSpec.model_validate({**NEEDED, "draft": {"model": "llama-3.2-1b"}})
    assert model.draft == DraftModelSpec(model="llama-3.2-1b")
    heads = SpeculativeSpec.model_validate({**NEEDED, "draft": {"step_us": 300, "caches": True}})
    assert heads.draft == DraftTimeSpec(step_us=300.0, caches=True)


@pytest.mark.parametrize("missing", NEEDED)
def test_drafts_and_their_acceptance_are_needed(missing):
    with pytest.raises(ValidationError, match=missing):
        SpeculativeSpec.model_validate({k: v for k, v in NEEDED.items() if k != missing})


@pytest.mark.parametrize(
    "change",
    [
        {"num_speculative_tokens": 0},
        {"num_speculative_tokens": 2.5},
        {"acceptance_rate": -0.1},
        {"acceptance_rate": 1.01},
        {"acceptance_rate": float("nan")},
        {"acceptance_rate": "0.7"},
        {"mode": "averaged"},
        {"draft": {}},
        {"draft": "llama-3.2-1b"},
        {"draft": {"step_us": -1}},
        {"draft": {"model": "llama-3.2-1b", "step_us": 1}},
        {"draft": {"modell": "llama-3.2-1b"}},
        {"acceptance_rte": 0.5},
    ],
)
def test_senseless_values_and_unknown_keys_are_errors(change):
    with pytest.raises(ValidationError):
        SpeculativeSpec.model_validate({**NEEDED, **change})
