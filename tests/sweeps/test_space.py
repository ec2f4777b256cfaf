"""The space: every grid point once, random points by number, absurd grids refused early."""

from __future__ import annotations

import itertools

import pytest

from hermes.errors import InputError
from hermes.scenario.loading import validate
from hermes.sweeps.space import Space
from hermes.sweeps.spec import StudySpec
from tests.sweeps.small_study import STUDY


def space(**dimensions) -> Space:
    return Space(validate(StudySpec, STUDY | {"space": dimensions}).space)


def test_the_grid_is_the_product_in_its_order():
    grid = space(a=[3, 1], b=["x", "y", None], c={"int": [0, 4], "step": 2})
    expected = list(itertools.product([3, 1], ["x", "y", None], [0, 2, 4]))
    assert grid.size == len(expected)
    assert [tuple(grid.at(number).values()) for number in range(grid.size)] == expected
    assert grid.first() == grid.at(0)


def test_a_random_point_depends_on_seed_and_number_only():
    grid = space(a=[1, 2, 3], b={"float": [0, 1]})
    points = [grid.drawn(7, number) for number in range(50)]
    assert [grid.drawn(7, number) for number in reversed(range(50))] == points[::-1]
    assert len({point["b"] for point in points}) == 50
    assert grid.drawn(8, 0) != grid.drawn(7, 0)
    assert {point["a"] for point in points} == {1, 2, 3}


def test_a_huge_grid_is_refused_with_its_count_before_anything_is_made():
    grid = space(**{f"x{i}": {"int": [1, 1000]} for i in range(4)})
    with pytest.raises(InputError, match=r"1,000,000,000,000 points .1,000 x 1,000"):
        grid.check_grid(None)
    grid.check_grid(50)  # so many of them can be walked
    assert list(grid.at(10**12 - 1).values()) == [1000] * 4


def test_a_continuous_dimension_has_no_grid():
    with pytest.raises(InputError, match=r"space\.b: a grid needs a finite number of values"):
        space(a=[1], b={"float": [0, 1]}).check_grid(None)
