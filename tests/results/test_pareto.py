"""The Pareto front: laws, and equality with the definition spelt out."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hermes.errors import InputError, UnknownNameError
from hermes.results import knee_point, non_dominated, pareto_front

# Few distinct values, so that ties and duplicates are common; NaN for what was not measured.
CELLS = st.sampled_from([0.0, -0.0, 1.0, 2.0, 3.0, 1e-300, -5.5, float("inf"), float("nan")])
TABLES = st.integers(1, 4).flatmap(
    lambda width: st.tuples(
        arrays(float, st.tuples(st.integers(0, 30), st.just(width)), elements=CELLS),
        st.lists(st.sampled_from(["minimize", "maximize"]), min_size=width, max_size=width),
    )
)


def dominates(one, other, directions):
    signs = [1 if direction == "minimize" else -1 for direction in directions]
    pairs = [(a * sign, b * sign) for a, b, sign in zip(one, other, signs, strict=True)]
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


@given(TABLES)
def test_the_front_is_what_the_definition_says(case):
    values, directions = case
    known = ~np.isnan(values).any(axis=1)
    expected = [
        bool(known[i])
        and not any(known[j] and dominates(values[j], values[i], directions)
                    for j in range(len(values)))
        for i in range(len(values))
    ]  # fmt: skip
    assert non_dominated(values, directions).tolist() == expected


@given(TABLES)
def test_every_known_point_off_the_front_is_beaten_by_one_on_it(case):
    values, directions = case
    front = non_dominated(values, directions)
    for point in values[~front & ~np.isnan(values).any(axis=1)]:
        assert any(dominates(rival, point, directions) for rival in values[front])


@pytest.mark.parametrize("width", [2, 3, 5])
def test_blocks_do_not_change_the_answer(width):
    rng = np.random.Generator(np.random.PCG64(7))
    values = rng.integers(0, 40, (3000, width)).astype(float)
    values[:600] = 100.0 - values[600:1200]
    front = non_dominated(values, ["minimize"] * width)
    beaten = np.zeros(len(values), dtype=bool)
    for rival in values:
        beaten |= (rival <= values).all(axis=1) & (rival < values).any(axis=1)
    assert (front == ~beaten).all()


def test_a_front_larger_than_a_block_is_kept_whole():
    steps = np.arange(2000.0)
    values = np.column_stack([steps, -steps, np.zeros(2000)])
    assert non_dominated(values, ["minimize"] * 3).all()
    assert non_dominated(values[:, :2], ["minimize"] * 2).all()


def test_duplicates_share_their_fate():
    values = np.array([[1.0, 2.0], [1.0, 2.0], [2.0, 2.0], [2.0, 2.0]])
    assert non_dominated(values, ["minimize", "minimize"]).tolist() == [True, True, False, False]


def test_the_knee_is_where_the_curve_bends():
    values = np.array([[1.0, 100.0], [2.0, 20.0], [3.0, 15.0], [10.0, 10.0]])
    assert knee_point(values, ["minimize", "minimize"]) == 1


def test_the_knee_does_not_move_with_the_units_or_the_order():
    values = np.array([[1.0, 4.0], [2.0, 9.0], [5.0, 11.0], [10.0, 12.0]])
    directions = ["minimize", "maximize"]
    assert knee_point(values, directions) == 1
    assert knee_point(values * [1000.0, 0.01], directions) == 1
    assert knee_point(values[::-1], directions) == 2


def test_without_a_bend_the_knee_is_nearest_to_the_best_of_all():
    bulging = np.array([[0.0, 10.0], [7.0, 9.0], [10.0, 0.0]])
    assert knee_point(bulging, ["minimize", "minimize"]) == 0
    many = np.array([[0.0, 1.0, 1.0], [0.3, 0.3, 0.3], [1.0, 0.0, 0.0]])
    assert knee_point(many, ["minimize"] * 3) == 1


def test_one_objective_or_one_point_has_the_best_as_its_knee():
    assert knee_point(np.array([[3.0], [3.0]]), ["maximize"]) == 0
    assert knee_point(np.array([[3.0, 4.0]]), ["maximize", "minimize"]) == 0
    with pytest.raises(InputError, match="empty front"):
        knee_point(np.empty((0, 2)), ["minimize", "minimize"])


def trials():
    return pd.DataFrame(
        {
            "number": [0, 1, 2, 3, 4],
            "status": ["completed", "completed", "completed", "infeasible", "completed"],
            "feasible": [True, True, False, None, None],
            "cost": [3.0, 1.0, 0.5, 0.1, 2.0],
            "speed": [9.0, 5.0, 99.0, 99.0, 7.0],
        }
    )


def test_only_trials_that_keep_the_constraints_are_on_the_front_best_first():
    front = pareto_front(trials(), {"cost": "minimize", "speed": "maximize"})
    assert front["number"].tolist() == [1, 4, 0]
    front = pareto_front(trials(), {"speed": "maximize", "cost": "minimize"})
    assert front["number"].tolist() == [0, 4, 1]


def test_broken_constraints_can_be_looked_past():
    front = pareto_front(trials(), {"cost": "minimize", "speed": "maximize"}, feasible_only=False)
    assert front["number"].tolist() == [2]


def test_no_completed_trial_gives_an_empty_front():
    assert pareto_front(trials().iloc[3:4], {"cost": "minimize"}).empty


def test_unknown_objectives_and_directions_are_named():
    with pytest.raises(UnknownNameError, match="'costs'; did you mean 'cost'"):
        pareto_front(trials(), {"costs": "minimize"})
    with pytest.raises(UnknownNameError, match="'minimise'; did you mean 'minimize'"):
        pareto_front(trials(), {"cost": "minimise"})
