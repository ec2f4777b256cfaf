"""Synthetic requests as vLLM's benchmark makes them."""

from __future__ import annotations

import pytest

from hermes.errors import InputError
from hermes.scenario import build_scenario
from hermes.scenario.workload import WorkloadSpec
from hermes.workload import build_workload
from tests.workload.infinite_cache import engine_reuse

POISSON = {"process": "poisson", "rate_per_s": 8}


def build(requests, arrivals=POISSON, seed=0, count=4000):
    block = {"requests": requests, "arrivals": arrivals, "limit": {"requests": count}}
    return build_workload(WorkloadSpec.model_validate(block), ["chat"], seed)


class TestRandom:
    def test_without_a_range_all_are_alike(self):
        workload = build({"random": {"prompt_tokens": 7, "output_tokens": 3}})
        assert set(workload.prompt_tokens.tolist()) == {7}
        assert set(workload.output_tokens.tolist()) == {3}
        assert workload.prefixes is None

    def test_a_range_reaches_both_ends_rounded_outwards(self):
        workload = build({"random": {"prompt_tokens": 10, "output_tokens": 5, "range_ratio": 0.3}})
        assert set(workload.prompt_tokens.tolist()) == set(range(7, 14))
        assert set(workload.output_tokens.tolist()) == {3, 4, 5, 6, 7}

    def test_all_values_of_the_range_are_as_likely(self):
        workload = build({"random": {"prompt_tokens": 100, "range_ratio": 0.5}}, count=50_000)
        assert workload.prompt_tokens.mean() == pytest.approx(100, rel=0.01)
        assert workload.prompt_tokens.std() == pytest.approx(101 / 12**0.5, rel=0.01)

    def test_no_length_is_below_one(self):
        assert build({"random": {"prompt_tokens": 1, "range_ratio": 0.9}}).prompt_tokens.min() == 1

    def test_a_prefix_comes_on_top_and_is_shared_by_all(self):
        workload = build({"random": {"prompt_tokens": 30, "prefix_tokens": 40}})
        assert set(workload.prompt_tokens.tolist()) == {70}
        assert set(workload.prefixes.ids) == {(0, 1)}  # 40 tokens are two full blocks of 16

    def test_a_range_leaves_other_draws_alone(self):
        narrow = build({"random": {"range_ratio": 0.1}})
        wide = build({"random": {"range_ratio": 0.5}})
        assert narrow.arrival_ticks.tolist() == wide.arrival_ticks.tolist()
        order = narrow.prompt_tokens.argsort(kind="stable")
        assert (wide.prompt_tokens[order][1:] - wide.prompt_tokens[order][:-1]).min() >= -10


class TestPrefixRepetition:
    BODY = {"prefix_tokens": 64, "suffix_tokens": 32, "num_prefixes": 5, "output_tokens": 2}

    def test_prompts_are_a_prefix_and_a_suffix(self):
        workload = build({"prefix_repetition": self.BODY})
        assert set(workload.prompt_tokens.tolist()) == {96}
        assert set(workload.output_tokens.tolist()) == {2}

    def test_prefixes_are_different_and_as_likely(self):
        ids = build({"prefix_repetition": self.BODY}, count=10_000).prefixes.ids
        assert len({block for head in ids for block in head}) == 5 * 4
        for head in sorted(set(ids)):
            assert ids.count(head) == pytest.approx(2000, rel=0.1)

    def test_a_shorter_limit_keeps_the_first_requests(self):
        ids = build({"prefix_repetition": self.BODY}).prefixes.ids
        assert build({"prefix_repetition": self.BODY}, count=50).prefixes.ids == ids[:50]

    def test_the_engine_finds_every_prefix_but_the_first_of_each(self):
        scenario = build_scenario(
            {
                "workload": {
                    "requests": {"prefix_repetition": self.BODY},
                    "arrivals": {"process": "constant", "rate_per_s": 1},
                    "limit": {"requests": 100},
                },
                "clients": {"chat": {"model": "llama-3.1-8b", "device": "h100-sxm"}},
            }
        )
        reused = engine_reuse(scenario)
        assert sorted(reused) == [0] * 5 + [64] * 95


class TestRampUp:
    def gaps(self, strategy, cv=0.01, start=1, end=9, count=1001):
        ramp = {"process": "ramp_up", "strategy": strategy, "cv": cv}
        ramp |= {"start_rate_per_s": start, "end_rate_per_s": end}
        times = build({"random": {}}, ramp, count=count).arrival_ticks / 1e12
        return times[1:] - times[:-1]

    def test_linear_rates_grow_by_the_same_difference(self):
        rates = 1 / self.gaps("linear")
        assert rates[499] == pytest.approx(5, rel=0.05)
        assert rates[-1] == pytest.approx(9, rel=0.05)

    def test_exponential_rates_grow_by_the_same_factor(self):
        rates = 1 / self.gaps("exponential")
        assert rates[499] == pytest.approx(3, rel=0.05)
        assert rates[-1] == pytest.approx(9, rel=0.05)

    def test_a_ramp_may_go_down(self):
        gaps = self.gaps("exponential", start=9, end=1)
        assert gaps[0] < gaps[-1]

    def test_gaps_have_the_spread_asked_for(self):
        gaps = self.gaps("linear", cv=2, start=4, end=4, count=50_000)
        assert gaps.std() / gaps.mean() == pytest.approx(2, rel=0.03)

    def test_one_request_has_the_first_rate(self):
        ramp = {"process": "ramp_up", "start_rate_per_s": 2, "end_rate_per_s": 4, "cv": 0.01}
        workload = build({"random": {}}, ramp, count=1)
        assert workload.arrival_ticks[0] / 1e12 == pytest.approx(0.5, rel=0.1)

    def test_it_needs_a_number_of_requests(self):
        ramp = {"process": "ramp_up", "start_rate_per_s": 2, "end_rate_per_s": 4}
        block = {"requests": {"random": {}}, "arrivals": ramp, "limit": {"duration_s": 5}}
        with pytest.raises(InputError, match=r"workload\.limit: .* give limit\.requests"):
            build_workload(WorkloadSpec.model_validate(block), ["chat"], 0)

    def test_the_workload_says_so(self):
        ramp = {"process": "ramp_up", "start_rate_per_s": 2, "end_rate_per_s": 4}
        source = build({"random": {}}, ramp).source
        assert source.endswith("synthetic requests, linear ramp-up from 2/s to 4/s")


class TestExactDuration:
    @pytest.mark.parametrize("process", [POISSON, {"process": "gamma", "rate_per_s": 8, "cv": 3}])
    def test_the_last_request_comes_at_the_mean_time(self, process):
        loose = build({"random": {}}, process)
        exact = build({"random": {}}, process | {"exact_duration": True})
        assert exact.arrival_ticks[-1] == 4000 / 8 * 10**12
        ratio = exact.arrival_ticks / loose.arrival_ticks
        assert ratio.max() == pytest.approx(ratio.min(), rel=1e-6)

    def test_it_needs_a_number_of_requests(self):
        arrivals = POISSON | {"exact_duration": True}
        block = {"requests": {"random": {}}, "arrivals": arrivals, "limit": {"duration_s": 5}}
        with pytest.raises(InputError, match=r"workload\.limit: exact_duration and ramp_up need a"):
            build_workload(WorkloadSpec.model_validate(block), ["chat"], 0)
