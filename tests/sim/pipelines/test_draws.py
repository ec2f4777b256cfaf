"""A draw belongs to a request and a place in the pipeline, and to nothing else."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter

from hermes.scenario.distributions import LengthSpec
from hermes.scenario.durations import DurationSpec
from hermes.sim.pipelines.draws import Draws

TOKENS = TypeAdapter(LengthSpec).validate_python({"lognormal": {"mean": 100, "cv": 1.0}})
MS = TypeAdapter(DurationSpec).validate_python({"exponential": {"mean": 5}})
LONGER = TypeAdapter(DurationSpec).validate_python({"exponential": {"mean": 10}})


def test_asking_again_gives_the_same_whatever_was_asked_before():
    one, other = Draws(3, 50), Draws(3, 50)
    asked = [(request, place) for request in range(50) for place in ((), (0,), (1, 2))]
    first = {at: one.tokens(TOKENS, "p/call/output", *at) for at in asked}
    again = {at: other.tokens(TOKENS, "p/call/output", *at) for at in reversed(asked)}
    assert first == again


def test_the_limit_of_a_workload_changes_no_draw():
    short, long = Draws(3, 10), Draws(3, 10_000)
    for request in range(10):
        assert short.tokens(TOKENS, "a", request, ()) == long.tokens(TOKENS, "a", request, ())
        assert short.ticks(MS, "a", request, (1,)) == long.ticks(MS, "a", request, (1,))
        assert short.share("a", request, (2,)) == long.share("a", request, (2,))


@pytest.mark.parametrize(("name", "place", "seed"), [("b", (), 3), ("a", (0,), 3), ("a", (), 4)])
def test_other_names_places_and_seeds_have_other_draws(name, place, seed):
    draws, others = Draws(3, 100), Draws(seed, 100)
    same = sum(
        draws.tokens(TOKENS, "a", i, ()) == others.tokens(TOKENS, name, i, place)
        for i in range(100)
    )
    assert same < 20


def test_places_are_not_told_apart_by_their_digits_alone():
    draws = Draws(0, 20)
    found = {
        tuple(draws.share("a", i, place) for i in range(20)) for place in ((1, 1), (11,), (1,))
    }
    assert len(found) == 3


def test_a_slower_service_is_slower_for_every_request_alike():
    one, other = Draws(0, 100), Draws(0, 100)
    for request in range(100):
        fast, slow = one.ticks(MS, "a", request, ()), other.ticks(LONGER, "a", request, ())
        assert abs(slow - 2 * fast) <= 2


def test_numbers_are_pythons_own():
    draws = Draws(0, 2)
    assert type(draws.tokens(TOKENS, "a", 0, ())) is int
    assert type(draws.ticks(MS, "a", 0, ())) is int
    assert type(draws.ticks(2.5, "a", 0, ())) is int
    assert type(draws.share("b", 0, ())) is float
