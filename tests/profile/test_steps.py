"""Sums of operators against whole steps that are made up, and the time they may take."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.catalog import find_device, find_model
from hermes.costs.roofline import Roofline
from hermes.costs.tables import Call, CallTable, TablePass
from hermes.profile.bench import UnsupportedError
from hermes.profile.point import Measurement, measure
from hermes.profile.serving import Arrival, serve
from hermes.profile.steps import StepShape, compare, measure_steps, step_shapes, step_sum
from hermes.profile.whole import decoders, room

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


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.floats(0.0, 30.0), st.floats(0.1, 2.9), st.randoms(use_true_random=False))
def test_steps_keep_to_their_time(seconds, slowness, random):
    """Whatever the table makes of them, if steps are less than three times its sums."""
    clock = Clock()
    expected = {shape: random.uniform(0.001, 0.3) for shape in step_shapes(8, 512, 256)}

    def run(shape: StepShape, repeated: float) -> Measurement:
        clock.now += repeated + slowness * (0.05 + 20 * expected[shape])
        if random.random() < 0.1:
            raise UnsupportedError("no such kernel")
        return measure([slowness * expected[shape]])

    found = measure_steps(run, list(expected), expected.__getitem__, seconds, clock)
    assert clock.now <= seconds
    assert len(found) <= len(expected)


def test_with_time_every_step_is_measured():
    shapes = step_shapes(8, 512, 256)
    found = measure_steps(lambda *_: measure([1.0]), shapes, lambda _: 0.1, 1e3, Clock())
    assert [shape for shape, _ in found] == shapes


class Loop:
    """An engine that takes a while for each step and answers a request a step."""

    def __init__(self, clock: Clock, seconds: list[float]) -> None:
        self.wall, self.seconds = clock, seconds
        self.waiting, self.running, self.prefilling = [], [], []

    def clock(self):
        wall, start = self.wall, self.wall.now

        class Own:
            def now(self) -> float:
                return wall.now - start

            def wait(self, seconds: float) -> None:
                wall.now += seconds

        return Own()

    def step(self):
        self.wall.now += self.seconds.pop() if len(self.seconds) > 1 else self.seconds[0]
        return [self.waiting.pop(0)]

    def advance(self, planned, now, served) -> None:
        for index, request in planned:
            served[index] = (request.seconds, now)


def test_serving_stops_in_time_and_keeps_who_was_answered():
    clock = Clock()
    trace = [Arrival(0.5 * place, 1, 2) for place in range(100)]
    served = serve(Loop(clock, [0.3]), trace, 10.0, clock)
    assert clock.now <= 10.0
    answered = [each is not None for each in served]
    assert answered == sorted(answered, reverse=True)
    assert sum(answered) == 19  # one each half second, less the step that might end too late


@given(st.lists(st.floats(0.1, 0.2), min_size=1, max_size=40), st.floats(0.5, 5.0))
def test_serving_stops_in_time_whatever_steps_take(times, seconds):
    clock = Clock()
    trace = [Arrival(0.15 * place, 1, 2) for place in range(100)]
    serve(Loop(clock, times), trace, seconds, clock)
    assert clock.now <= seconds


def test_everyone_is_served_where_no_time_is_given():
    clock = Clock()
    assert None not in serve(Loop(clock, [0.3]), [Arrival(9.0 * n, 1, 2) for n in range(9)])


def test_decoders_are_the_first_dense_model_and_the_first_with_experts():
    names = ("gpt-oss-120b", "mixtral-8x7b", "qwen3-30b-a3b", "qwen2.5-7b", "llama-3.1-8b")
    models = [find_model(name) for name in names]
    dense, experts = decoders(models, 140e9, "gpu")
    assert dense.name.endswith("Qwen2.5-7B")
    assert experts.name.endswith("Mixtral-8x7B-v0.1")
    assert 2 * experts.total_parameters <= 0.35 * 140e9
    assert [each.is_moe for each in decoders(models[1:3], 140e9, "gpu")] == [True]
    assert decoders([find_model("deepseek-v3")], 140e9, "gpu") == []


def test_the_cache_of_a_check_fits_the_memory():
    llama = find_model("llama-3.1-8b")
    assert room(llama, 150e9, 64, 4096) == (64, 4096)
    slots, length = room(llama, 24e9, 64, 4096)
    assert 0.15 * 24e9 < slots * length * 2 * 32 * 8 * 128 * 2 <= 0.3 * 24e9
    assert room(llama, 1e8, 64, 4096)[0] == 2
