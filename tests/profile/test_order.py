"""What is measured when: coarse grids first, time shared as planned, nothing twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.profile.budget import Budget, Family
from hermes.profile.grid import coarse_first, levels, powers, product
from hermes.profile.point import Point, point


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


def run(budget: Budget, clock: Clock, cost: dict[str, float]) -> list[Point]:
    taken = []
    while (chosen := budget.next()) is not None:
        queue, each = chosen
        clock.now += cost[queue.family.name]
        budget.spend(queue, cost[queue.family.name])
        taken.append(each)
    return taken


def test_families_get_their_shares_of_the_time_whatever_their_points_cost():
    clock = Clock()
    budget = Budget(100.0, clock)
    budget.plan([family("slow", 0.5, 999), family("fast", 0.5, 999)])
    run(budget, clock, {"slow": 5.0, "fast": 0.5})
    spent = {queue.family.name: queue.spent for queue in budget.queues}
    assert spent["slow"] == pytest.approx(50, abs=5)
    assert spent["fast"] == pytest.approx(50, abs=5)


def test_the_time_is_bounded_by_one_point():
    clock = Clock()
    budget = Budget(10.0, clock)
    budget.plan([family("a", 1.0, 999)])
    run(budget, clock, {"a": 3.0})
    assert 10 <= clock.now < 13
    assert budget.done == 4


def test_a_family_without_points_leaves_its_time_to_the_others():
    clock = Clock()
    budget = Budget(100.0, clock)
    budget.plan([family("few", 0.9, 2), family("many", 0.1, 50)])
    assert len(run(budget, clock, {"few": 1.0, "many": 1.0})) == 52


def test_what_was_finished_is_not_planned_again():
    clock = Clock()
    budget = Budget(100.0, clock)
    both = family("a", 1.0, 4)
    budget.plan([both], [both.points[0].key, both.points[2].key])
    assert run(budget, clock, {"a": 1.0}) == [both.points[1], both.points[3]]
    assert budget.done == budget.total == 4
