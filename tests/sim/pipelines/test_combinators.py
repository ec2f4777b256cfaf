"""Sequences, forks, choices and loops take exactly the time that can be reckoned by hand."""

from __future__ import annotations

import pytest

from tests.sim.pipelines.build import (
    CPU,
    LLM,
    Seen,
    built,
    call,
    call_ms,
    e2e_ms,
    hop_ms,
    run,
    visits,
    work,
)

CPUS = {"cpu": {**CPU, "workers": 16}}


def test_a_sequence_takes_the_sum_of_its_stages():
    result = run(built([work(4), work(2.5), work(1)], CPUS))
    assert visits(result) == [
        Seen("process", 0, 4, True),
        Seen("process-2", 4, 2.5, True),
        Seen("process-3", 6.5, 1, True),
    ]
    assert e2e_ms(result) == 7.5


def test_a_queue_is_first_come_first_served():
    result = run(built([work(4)], {"cpu": CPU}), [(0, 1, 1), (1, 1, 1), (1.5, 1, 1)])
    assert [e2e_ms(result, i) for i in range(3)] == [4, 7, 10.5]
    assert (result.requests.stages.queue / 10**9).tolist() == [0, 3, 6.5]


def test_work_may_grow_with_the_context():
    result = run(built([work(1, us_per_token=20)], CPUS), [(0, 300, 1)])
    assert e2e_ms(result) == 7


class TestParallel:
    """Forks and joins."""

    EACH = {"each": {"slow": [work(9)], "fast": [work(2), work(3)], "middle": [work(7)]}}

    def test_all_of_them_take_the_time_of_the_slowest(self):
        result = run(built([{"parallel": self.EACH}, work(1)], CPUS))
        assert e2e_ms(result) == 10
        assert [seen for seen in visits(result) if seen.critical] == [
            Seen("process", 0, 9, True),
            Seen("process-5", 9, 1, True),
        ]
        assert len(visits(result)) == 5

    @pytest.mark.parametrize(("wait_for", "joined"), [(1, 5), (2, 7), (3, 9)])
    def test_the_first_k_are_waited_for(self, wait_for, joined):
        result = run(built([{"parallel": {**self.EACH, "wait_for": wait_for}}, work(1)], CPUS))
        assert e2e_ms(result) == joined + 1

    def test_a_branch_that_nobody_waits_for_ends_with_its_stage(self):
        long = [work(4), work(4), work(4)]
        fork = {"parallel": {"each": {"long": long, "short": [work(5)]}, "wait_for": 1}}
        result = run(built([fork], CPUS))
        assert e2e_ms(result) == 5
        # Its second stage was under way; the third is never begun.
        assert sorted((s.stage, s.critical) for s in visits(result)) == [
            ("process", False),
            ("process-2", False),
            ("process-4", True),
        ]

    def test_so_do_the_branches_inside_it(self):
        inner = {"parallel": {"branches": 2, "stages": [work(4), work(4)]}}
        fork = {"parallel": {"each": {"deep": [inner, work(9)], "short": [work(1)]}, "wait_for": 1}}
        result = run(built([fork], CPUS))
        assert e2e_ms(result) == 1
        assert sum(s.stage == "process" for s in visits(result)) == 2
        assert [s.stage for s in visits(result) if s.stage not in {"process", "process-4"}] == []

    def test_branches_are_alike_where_one_is_given_and_a_number(self):
        result = run(built([{"parallel": {"branches": 3, "stages": [work(2)]}}], {"cpu": CPU}))
        assert e2e_ms(result) == 6  # one worker
        assert [s.critical for s in visits(result)].count(True) == 1

    def test_an_empty_branch_is_done_at_once(self):
        fork = {"parallel": {"each": {"nothing": [], "something": [work(3)]}, "wait_for": 1}}
        assert e2e_ms(run(built([fork, work(1)], CPUS))) == 1

    def test_a_fork_goes_on_as_long_as_enough_branches_can_be_done(self):
        clients = {"llm": LLM, "tiny": {**LLM, "max_model_len": 50}, **CPUS}
        each = {"big": [call(client="tiny")], "small": [work(3)]}
        first = run(
            built([{"parallel": {"each": each, "wait_for": 1}}, call(client="llm")], clients)
        )
        assert e2e_ms(first) == pytest.approx(3 + hop_ms(100) + call_ms(100, 10), abs=1e-9)
        both = run(built([{"parallel": {"each": each}}, call(client="llm")], clients))
        assert both.requests.reason[0]
        assert both.summary["rejected"] == 1

    def test_gathered_contexts_grow_the_prompt(self):
        fork = {"branches": 3, "stages": [call(output_tokens=20)]}
        for gather, prompt in (("all", 160), ("first", 120), ("none", 100)):
            stages = [{"parallel": {**fork, "gather": gather}}, call(output_tokens=1)]
            assert run(built(stages)).requests.prompt_tokens.tolist() == [prompt]


class TestLoop:
    """Repetitions."""

    def test_a_fixed_number_of_rounds(self):
        result = run(built([{"loop": {"times": 3, "stages": [work(2), work(1)]}}], CPUS))
        assert [s.begin for s in visits(result)] == [0, 2, 3, 5, 6, 8]
        assert e2e_ms(result) == 9

    def test_loops_nest(self):
        inner = {"loop": {"times": 2, "stages": [work(1)]}}
        outer = {"loop": {"times": 3, "stages": [inner, work(2)]}}
        assert e2e_ms(run(built([outer], CPUS))) == 12

    def test_rounds_by_a_column_of_the_trace(self):
        scenario = built([{"loop": {"times": {"column": "calls"}, "stages": [work(2)]}}], CPUS)
        result = run(scenario, [(i, 1, 1) for i in range(3)], {"calls": [4, 0, 1]})
        assert [e2e_ms(result, i) for i in range(3)] == [8, 0, 2]

    def test_geometric_rounds_have_their_mean_and_variance(self):
        scenario = built(
            [{"loop": {"times": {"geometric": {"mean": 3}}, "stages": [work(0)]}}], CPUS
        )
        result = run(scenario, [(i, 1, 1) for i in range(4000)])
        rounds = [0] * 4000
        for request in result.requests.stages.request.tolist():
            rounds[request] += 1
        mean = sum(rounds) / 4000
        variance = sum((n - mean) ** 2 for n in rounds) / 4000
        assert min(rounds) == 1
        assert abs(mean - 3) < 4 * (6 / 4000) ** 0.5
        assert abs(variance - 6) < 1


class TestChoice:
    """Decisions."""

    @staticmethod
    def choice(**branches):
        return {
            "choice": {
                "branches": {
                    name: {**spec, "stages": [work(float(name[1:]))]}
                    for name, spec in branches.items()
                }
            }
        }

    def times(self, scenario, requests, attributes=None):
        result = run(scenario, requests, attributes)
        return [e2e_ms(result, i) for i in range(len(requests))]

    def test_by_the_length_of_the_prompt(self):
        choice = self.choice(w1={"when": {"prompt_tokens": [0, 100]}}, w2={})
        requests = [(100 * i, prompt, 1) for i, prompt in enumerate((1, 100, 101, 5000))]
        assert self.times(built([choice], CPUS), requests) == [1, 1, 2, 2]

    def test_by_the_context_that_stages_have_grown(self):
        choice = self.choice(w1={"when": {"context_tokens": [0, 119]}}, w2={})
        clients = {"llm": LLM, **CPUS}
        result = run(built([call(output_tokens=20), choice], clients), [(0, 99, 1), (500, 100, 1)])
        times = [visits(result, i)[-1].time for i in range(2)]
        assert times == pytest.approx([1 + hop_ms(119), 2 + hop_ms(120)], abs=1e-9)

    def test_by_an_attribute_of_the_trace(self):
        choice = self.choice(
            w1={"when": {"attribute": {"images": [1, 3]}}},
            w2={"when": {"attribute": {"images": [4, 9], "urgent": [1, 1]}}},
            w3={},
        )
        attributes = {"images": [0, 1, 3, 4, 4], "urgent": [1, 0, 0, 0, 1]}
        requests = [(100 * i, 1, 1) for i in range(5)]
        assert self.times(built([choice], CPUS), requests, attributes) == [3, 1, 1, 3, 2]

    def test_the_first_condition_that_holds_is_taken_wherever_the_default_stands(self):
        choice = self.choice(
            w3={}, w1={"when": {"prompt_tokens": [5, 9]}}, w2={"when": {"prompt_tokens": [8, 20]}}
        )
        requests = [(100 * i, prompt, 1) for i, prompt in enumerate((4, 5, 9, 10))]
        assert self.times(built([choice], CPUS), requests) == [3, 1, 1, 2]

    def test_by_weight(self):
        choice = self.choice(w1={"weight": 3}, w2={"weight": 1}, w3={"weight": 0})
        times = self.times(built([choice], CPUS), [(i * 10, 1, 1) for i in range(2000)])
        assert times.count(3) == 0
        assert abs(times.count(1) - 1500) < 4 * (2000 * 0.75 * 0.25) ** 0.5

    def test_by_difficulty(self):
        choice = self.choice(w1={"when": {"difficulty": "hard"}}, w2={})
        scenario = built([choice], CPUS, workload={"difficulty": {"easy": 0.7, "hard": 0.3}})
        times = self.times(scenario, [(i * 10, 1, 1) for i in range(2000)])
        assert abs(times.count(1) - 600) < 4 * (2000 * 0.3 * 0.7) ** 0.5

    def test_by_what_a_router_takes_the_request_for(self):
        """A router that errs takes so many of each class for the other; and costs a call."""
        confusion = {"easy": {"easy": 9, "hard": 1}, "hard": {"easy": 0.2, "hard": 0.8}}
        choice = self.choice(w100={"when": {"difficulty": "hard"}}, w200={})
        choice["choice"]["router"] = {"confusion": confusion, "output_tokens": 2}
        clients = {"llm": LLM, **CPUS}
        scenario = built([choice], clients, workload={"difficulty": {"easy": 0.5, "hard": 0.5}})
        times = self.times(scenario, [(i * 1000, 100, 1) for i in range(1000)])
        routed = call_ms(100, 2)
        hard = [round(t - routed) for t in times].count(100)
        assert abs(hard - 450) < 4 * (1000 * 0.45 * 0.55) ** 0.5
        assert {round(t - routed) for t in times} == {100, 200}

    def test_by_the_load_of_a_client(self):
        """With fewer than two requests there, a request goes to the quick client."""
        clients = {"quick": {**CPU, "workers": 2}, "slow": CPU}
        choice = {
            "choice": {
                "branches": {
                    "a": {
                        "when": {"pending_below": {"quick": 2}},
                        "stages": [work(10, client="quick")],
                    },
                    "b": {"stages": [work(1, client="slow")]},
                }
            }
        }
        requests = [(0, 1, 1), (1, 1, 1), (2, 1, 1), (3, 1, 1), (10.5, 1, 1)]
        assert self.times(built([choice], clients), requests) == [10, 10, 1, 1, 10]
