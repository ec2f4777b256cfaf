"""Dimensions give values back exactly, whatever way they went: by place, by draw, by sampler."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes.errors import InputError
from hermes.scenario.loading import validate
from hermes.sweeps.choices import Choices
from hermes.sweeps.ranges import FloatRange, IntRange
from hermes.sweeps.spec import StudySpec
from tests.sweeps.small_study import STUDY

UNIFORM = st.floats(0, 1, exclude_max=True)


def dimension(written):
    spec = validate(StudySpec, STUDY | {"space": {"seed": written}})
    return spec.space["seed"]


def stored(value, kind):
    """Return a value as a Parquet column of its dimension's type gives it back."""
    if value is None or kind is not str or isinstance(value, str):
        return value if value is None else kind(value)
    return json.dumps(value, sort_keys=True)


WRITTEN = st.one_of(
    st.lists(st.integers(-99, 99), min_size=1, max_size=6, unique=True),
    st.just(["auto", 4, 4.5, None, True, {"linear": {"step_us": 3}}, [1, 2]]),
    st.just([0.5, 2, None]),
    st.builds(
        lambda low, width, step: {"int": [low, low + width], "step": step},
        st.integers(-99, 99), st.integers(0, 99), st.integers(1, 9),
    ),
    st.builds(
        lambda low, width: {"int": [low, low + width], "log": True},
        st.integers(1, 99), st.integers(0, 9999),
    ),
    st.builds(
        lambda low, width, step: {"float": [low / 8, (low + width) / 8], "step": step / 10},
        st.integers(-99, 99), st.integers(0, 99), st.integers(1, 9),
    ),
    st.builds(
        lambda low, width, log: {"float": [low / 8, (low + width) / 8], "log": log},
        st.integers(1, 99), st.integers(0, 99), st.booleans(),
    ),
)  # fmt: skip


@settings(deadline=None)  # the first example imports Optuna
@given(WRITTEN, UNIFORM)
def test_a_drawn_value_survives_the_store_and_the_sampler(written, uniform):
    space = dimension(written)
    value = space.draw(uniform)
    back = space.from_parameter(space.to_parameter(stored(value, space.kind)))
    assert back == value
    assert type(back) is type(value)
    assert space.distribution()._contains(space.to_parameter(value))


@settings(deadline=None)
@given(WRITTEN)
def test_places_run_from_the_first_value_to_the_last(written):
    space = dimension(written)
    if space.size is None:
        return
    values = [space.at(place) for place in range(min(space.size, 200))]
    assert len({json.dumps(value) for value in values}) == len(values)
    assert space.draw(0.0) == values[0]
    if space.size <= 200:
        assert space.draw(1 - 2**-53) == values[-1]


@settings(deadline=None)
@given(st.one_of(st.tuples(st.just("int"), st.booleans()), st.tuples(st.just("float"), st.booleans())), UNIFORM)  # fmt: skip  # noqa: E501
def test_draws_stay_in_their_range(kind, uniform):
    name, log = kind
    value = dimension({name: [3, 700], "log": log}).draw(uniform)
    assert 3 <= value <= 700


def test_logarithmic_draws_are_even_over_orders_of_magnitude():
    wide = dimension({"float": [1, 10_000], "log": True})
    assert [round(wide.draw(share / 4), 6) for share in range(4)] == [1, 10, 100, 1000]


def test_steps_are_decimal():
    assert [dimension({"float": [0, 0.3], "step": 0.1}).at(place) for place in range(4)] == [
        0.0, 0.1, 0.2, 0.3,
    ]  # fmt: skip


def test_rising_numbers_keep_their_order_for_the_sampler_and_names_do_not():
    assert type(dimension([1, 2, 8]).distribution()).__name__ == "IntDistribution"
    assert type(dimension([8, 1]).distribution()).__name__ == "CategoricalDistribution"
    assert type(dimension(["a", "b"]).distribution()).__name__ == "CategoricalDistribution"


@pytest.mark.parametrize("written", [[1, 2], ["a", None], {"int": [1, 9], "step": 2},
                                     {"int": [1, 9], "log": True}, {"float": [0.5, 1.0]},
                                     {"float": [0.5, 1.0], "step": 0.25}])  # fmt: skip
def test_what_is_written_is_read_back(written):
    assert dimension(dimension(written).written()) == dimension(written)


def test_each_form_is_its_own_kind():
    assert isinstance(dimension([1]), Choices)
    assert isinstance(dimension({"int": [1, 2]}), IntRange)
    assert isinstance(dimension({"float": [1, 2]}), FloatRange)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ([], "the list of choices is empty"),
        ([1, 1.0], "the choice 1.0 is given twice"),
        (["4", 4], "the choice 4 is given twice"),
        ({"int": [9, 1]}, "the range is empty: low 9 is above high 1"),
        ({"float": [0, 1], "log": True}, "a range with log: true starts above 0, got low 0.0"),
        ({"int": [1, 9], "log": True, "step": 2}, "`step` or `log`, not both"),
        ({"int": [1, 9], "step": 0}, "greater than or equal to 1"),
        ({"int": [1.5, 9]}, "valid integer"),
        ({"int": [1]}, "required"),
        ({"integer": [1, 2]}, "got the key 'integer'; did you mean 'int'?"),
        ({"int": [1, 2], "logs": True}, "unknown field; did you mean 'log'?"),
        ("h100", "got 'h100'; a value that stays the same goes under `set`"),
        ({}, "a dimension is a list of choices"),
    ],
)
def test_a_mistake_has_one_message_that_names_the_field(written, message):
    with pytest.raises(InputError) as caught:
        dimension(written)
    assert message in str(caught.value)
    assert caught.value.field.startswith("space.seed")
