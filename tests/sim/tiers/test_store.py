"""Stores: never above their capacity, and each policy lets the right block go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.errors import SimulationError, UnknownNameError
from hermes.sim.tiers.eviction import EVICTION, EvictionPolicy
from hermes.sim.tiers.store import TierStore

POLICIES = sorted(EVICTION)


def store(policy: str, capacity: int | None) -> TierStore:
    return TierStore(capacity, EVICTION.find(policy, "eviction")(capacity or 0))


def ask(kept: TierStore, key: int, size: int = 1) -> bool:
    """Look a block up, and enter it where it is not there; return whether it was."""
    there = key in kept
    if there:
        kept.touch(key)
    else:
        kept.enter(key, size)
    return there


@pytest.mark.parametrize("policy", POLICIES)
@given(
    asked=st.lists(st.tuples(st.integers(0, 30), st.integers(1, 7)), max_size=300),
    capacity=st.integers(1, 60),
)
def test_no_store_ever_exceeds_its_capacity(policy, asked, capacity) -> None:
    kept = store(policy, capacity)
    sizes: dict[int, int] = {}
    for key, size in asked:
        ask(kept, key, sizes.setdefault(key, size))
        assert kept.used <= capacity
        kept.audit()
        assert sizes[key] > capacity or key in kept  # the latest is never the one to go at once


@pytest.mark.parametrize("policy", POLICIES)
def test_without_limit_nothing_leaves(policy) -> None:
    kept = store(policy, None)
    for key in range(1000):
        kept.enter(key, 10**9)
    assert len(kept) == 1000
    assert kept.evictions == 0


@given(st.lists(st.integers(0, 12), max_size=200), st.integers(1, 10))
def test_lru_is_the_stack_of_latest_uses(asked: list[int], capacity: int) -> None:
    kept = store("lru", capacity)
    for step, key in enumerate(asked):
        latest = list(dict.fromkeys(reversed(asked[:step])))[:capacity]
        assert ask(kept, key) == (key in latest)


def test_s3fifo_keeps_what_is_used_through_a_scan_and_lru_does_not() -> None:
    found = {}
    for policy in ("lru", "s3fifo"):
        kept = store(policy, 100)
        for _ in range(5):
            for hot in range(20):
                ask(kept, hot)
        for once in range(1000, 3000):
            ask(kept, once)
        found[policy] = sum(hot in kept for hot in range(20))
    assert found == {"lru": 0, "s3fifo": 20}


def test_s3fifo_remembers_what_it_let_go() -> None:
    kept = store("s3fifo", 20)
    for key in range(21):
        ask(kept, key)
    assert 0 not in kept  # once in the small queue, never asked for again
    ask(kept, 0)  # goes to the main queue now, past the newcomers
    for key in range(100, 119):
        ask(kept, key)
    assert 0 in kept
    assert 20 not in kept


def test_a_block_larger_than_the_store_stays_out() -> None:
    kept = store("lru", 5)
    kept.enter("small", 5)
    kept.enter("large", 6)
    assert "small" in kept
    assert "large" not in kept


def test_a_policy_of_ones_own_is_named_by_its_path_and_audited() -> None:
    policy = EVICTION.find(f"{__name__}:Last", "eviction")
    kept = TierStore(2, policy(2))
    for key in "abc":
        kept.enter(key, 1)
    assert ("a" in kept, "b" in kept, "c" in kept) == (True, False, True)
    kept.used = 1
    with pytest.raises(SimulationError, match="counts 1"):
        kept.audit()
    with pytest.raises(UnknownNameError, match="did you mean 's3fifo'"):
        EVICTION.find("s3-fifo", "eviction")


class Last(EvictionPolicy):
    """The newest goes first."""

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self._keys: list[object] = []

    def enter(self, key: object, size: int) -> None:
        del size
        self._keys.append(key)

    def touch(self, key: object) -> None:
        del key

    def victim(self) -> object:
        return self._keys.pop()
