"""What is measured when: coarse grids first, time shared as planned, nothing twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.profile.budget import Budget, Family
from hermes.profile.grid import coarse_first, levels, powers, product
from hermes.profile.patience import UNKNOWN, Patience
from hermes.profile.point import Point, point
from tests.profile.bench import PEAKS


def test_the_ends_come_first_then_the_middles():
    assert levels(5) == (0, 2, 1, 2, 0)
    assert [value for _, value in coarse_first((1, 2, 4, 8, 16))] == [1, 16, 4, 2, 8]


@given(st.integers(0, 40))
def test_every_place_is_measured_once(count):
    assert sorted(value for _, value in coarse_first(range(count))) == list(range(count))


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 3))
def test_a_product_holds_every_combination_once(a, b, groups):
    found = product(range(groups), range(a), range(b))
    assert len(found) == len(set(found)) == groups * a * b


def test_a_product_cut_short_still_spans_the_axes():
    corners = {(1, 1), (1, 64), (64, 1), (64, 64)}
    found = [values for _, values in product("g", powers(1, 64), powers(1, 64))]
    assert set(found[:4]) == corners


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def family(name: str, share: float, count: int) -> Family:
    return Family(name, share, [point(name, "bf16", n=n + 1) for n in range(count)])


def budget_of(seconds: float, clock: Clock, fixed: float = 0.1) -> Budget:
    return Budget(seconds, clock, PEAKS, Patience(fixed))


def run(budget: Budget, clock: Clock, cost: Callable[[Point], float]) -> list[Point]:
    taken = []
    while (chosen := budget.next()) is not None:
        queue, each = chosen
        spent = cost(each)
        clock.now += spent
        budget.spend(queue, each, spent)
        taken.append(each)
    return taken


def test_families_get_their_shares_of_the_time_whatever_their_points_cost():
    clock = Clock()
    budget = budget_of(1000.0, clock)
    budget.plan([family("slow", 0.5, 9999), family("fast", 0.5, 9999)])
    run(budget, clock, lambda each: {"slow": 1.5, "fast": 0.2}[each.operator])
    spent = {queue.family.name: queue.spent for queue in budget.queues}
    assert spent["slow"] == pytest.approx(500, abs=5)
    assert spent["fast"] == pytest.approx(500, abs=5)


@given(
    st.floats(0.0, 60.0),
    st.lists(st.floats(0.01, UNKNOWN), min_size=3, max_size=3),
    st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 10**11)), min_size=1, max_size=30),
    st.randoms(use_true_random=False),
)
def test_no_point_outlasts_the_time(seconds, slowness, works, random):
    """Whatever operators cost over their work, as long as no point doubles its operator's worst."""
    clock = Clock()
    budget = budget_of(seconds, clock, 0.05)
    families = [
        Family(f"f{place}", 0.3, [point(f"f{place}", "bf16", *work, n=n) for n, work in each])
        for place, each in enumerate([list(enumerate(works))] * 3)
    ]
    budget.plan(families)
    patience = budget.patience

    def cost(each: Point) -> float:
        least = 0.05 + 20 * PEAKS.work_seconds(each)
        worst = slowness[int(each.operator[1:])] * least
        return worst * random.uniform(0.5, 1.0) if each.operator in patience.worst else worst

    taken = run(budget, clock, cost)
    assert clock.now <= seconds
    for queue in budget.queues:  # and none that was sure to end was left
        assert all(budget.most(each) > budget.left for each in queue.waiting)
    assert len(taken) + sum(len(queue.waiting) for queue in budget.queues) == budget.total


def test_a_point_that_is_too_long_for_the_rest_is_passed_over_for_a_shorter_one():
    clock = Clock()
    budget = budget_of(10.0, clock, 0.01)
    long, short = point("a", "bf16", 1e12, n=1), point("a", "bf16", 1e6, n=2)
    budget.plan([Family("a", 1.0, [long, short])])
    assert run(budget, clock, lambda _: 0.01) == [short]
    assert budget.done == 1


def test_what_a_kind_took_is_learned_and_another_s_is_not():
    patience = Patience(0.1)
    assert patience.most("a", 0.0) == patience.most("b", 0.0) == pytest.approx(UNKNOWN * 0.1)
    patience.learn("a", 0.3, 0.0)
    patience.learn("a", 0.2, 0.0)
    assert patience.most("a", 0.0) == pytest.approx(0.6)
    assert patience.most("b", 0.0) == pytest.approx(UNKNOWN * 0.1)


def test_what_is_built_before_the_first_call_is_counted_once():
    index = point("search", "int8", bus="", setup_flops=2e10, vectors=1)
    assert budget_of(1.0, Clock(), 0.0).most(index) == pytest.approx(2.0)


def test_a_family_without_points_leaves_its_time_to_the_others():
    clock = Clock()
    budget = budget_of(100.0, clock)
    budget.plan([family("few", 0.9, 2), family("many", 0.1, 50)])
    assert len(run(budget, clock, lambda _: 1.0)) == 52


def test_what_was_finished_is_not_planned_again():
    clock = Clock()
    budget = budget_of(100.0, clock)
    both = family("a", 1.0, 4)
    budget.plan([both], [both.points[0].key, both.points[2].key])
    assert run(budget, clock, lambda _: 1.0) == [both.points[1], both.points[3]]
    assert budget.done == budget.total == 4
