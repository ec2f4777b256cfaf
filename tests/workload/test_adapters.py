"""Which LoRA adapter each request uses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.scenario.lora import AdaptersSpec
from hermes.scenario.workload import WorkloadSpec
from hermes.workload import ADAPTER, build_workload
from hermes.workload.adapters import draw_adapters

COUNT = 40_000


def spec(**fields: object) -> AdaptersSpec:
    return AdaptersSpec.model_validate(fields)


def test_popularity_falls_as_zipf_says() -> None:
    drawn = draw_adapters(
        spec(count=5, popularity={"zipf": {"exponent": 1.0}}, share=0.8), None, COUNT, 1
    )
    assert np.mean(drawn >= 0) == pytest.approx(0.8, abs=0.01)
    used = drawn[drawn >= 0]
    harmonic = sum(1 / k for k in range(1, 6))
    for adapter in range(5):
        assert np.mean(used == adapter) == pytest.approx(1 / (adapter + 1) / harmonic, abs=0.01)


def test_uniform_adapters_are_alike() -> None:
    drawn = draw_adapters(spec(count=4), None, COUNT, 1)
    assert drawn.min() == 0
    for adapter in range(4):
        assert np.mean(drawn == adapter) == pytest.approx(0.25, abs=0.01)


def test_the_share_does_not_change_which_adapter_a_request_has() -> None:
    some = draw_adapters(spec(count=9, share=0.5), None, 1000, 1)
    all_ = draw_adapters(spec(count=9), None, 1000, 1)
    assert (some[some >= 0] == all_[some >= 0]).all()
    assert (draw_adapters(spec(count=9), None, 400, 1) == all_[:400]).all()


@given(st.lists(st.integers(-1, 3), min_size=1, max_size=40))
def test_turns_of_a_session_use_the_adapter_of_its_first(sessions: list[int]) -> None:
    column = np.array(sessions, np.int64)
    drawn = draw_adapters(spec(count=50, share=0.9), column, len(sessions), 7)
    alone = draw_adapters(spec(count=50, share=0.9), None, len(sessions), 7)
    for request, session in enumerate(sessions):
        first = sessions.index(session) if session >= 0 else request
        assert drawn[request] == alone[first]


def test_they_leave_all_other_draws_alone() -> None:
    work = {
        "requests": {"lengths": {"prompt": {"lognormal": {"mean": 500, "cv": 1.0}}, "output": 9}},
        "arrivals": {"process": "poisson", "rate_per_s": 3},
        "limit": {"requests": 50},
    }
    plain = build_workload(WorkloadSpec.model_validate(work), ("a",), 5)
    with_ = build_workload(
        WorkloadSpec.model_validate({**work, "adapters": {"count": 3}}), ("a",), 5
    )
    assert (plain.arrival_ticks == with_.arrival_ticks).all()
    assert (plain.prompt_tokens == with_.prompt_tokens).all()
    assert list(with_.attributes) == [ADAPTER]
    assert plain.digest() != with_.digest()
