"""Named random streams: same names, same draws; other names, independent draws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.errors import InputError
from hermes.workload import stream

SEEDS = st.integers(0, 2**64)
NAMES = st.lists(st.text(max_size=12), max_size=3)


@given(SEEDS, NAMES)
def test_the_same_name_gives_the_same_draws(seed, names):
    assert np.array_equal(stream(seed, *names).random(8), stream(seed, *names).random(8))


@given(SEEDS, NAMES, NAMES)
def test_another_name_gives_other_draws(seed, names, others):
    same = np.array_equal(stream(seed, *names).random(4), stream(seed, *others).random(4))
    assert same == (names == others)


@given(SEEDS, SEEDS)
def test_another_seed_gives_other_draws(seed, other):
    same = np.array_equal(stream(seed, "arrivals").random(4), stream(other, "arrivals").random(4))
    assert same == (seed == other)


def test_names_are_not_glued_together():
    assert stream(0, "ab", "c").random() != stream(0, "a", "bc").random()


def test_draws_never_change_between_versions():
    """Results are only comparable over time if these numbers stay; do not update them."""
    drawn = stream(7, "workload", "arrivals").integers(0, 2**32, 4)
    assert drawn.tolist() == [1467250109, 3769671705, 1294238659, 337163819]


def test_a_negative_seed_is_refused():
    with pytest.raises(InputError, match=r"seed: must be 0 or more, got -1"):
        stream(-1, "arrivals")
