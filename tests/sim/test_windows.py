"""Layers with a sliding window: the engine equals a reference that keeps every group's blocks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes.catalog import find_model
from hermes.costs.kv_groups import KvGroups, kv_groups
from hermes.errors import InfeasibleError
from hermes.scenario import Scenario, build_scenario
from hermes.sim.deployment import ClientPlan, resolve
from hermes.sim.limits import most_window_blocks
from tests.oracle.reference import ROUTERS, ReferenceReplica, Request, run_reference
from tests.oracle.windows import WindowedReference
from tests.sim.deployments import limits
from tests.sim.test_against_oracle import (
    ANY_HEALTH,
    BATCHING,
    COSTS,
    Case,
    assert_equal_to_reference,
    cases,
)


@dataclass(frozen=True)
class Windowed(Case):
    """A case of a model with windows."""

    def reference(self) -> tuple[list[Request], int]:
        requests = self.unserved()
        costs = COSTS[self.cost]()
        pool: list[ReferenceReplica] = [
            WindowedReference(self.bounds, self.batching, costs, self.order)
            for _ in range(self.replicas)
        ]
        run_reference(requests, pool, ROUTERS[self.routing]())
        return requests, sum(replica.steps for replica in pool)


def windowed(case: Case, groups: KvGroups) -> Windowed:
    """Return a case with windows, in a cache that holds as many tokens of all groups."""
    bounds = case.bounds
    blocks = bounds.num_blocks * groups.total
    most = most_window_blocks(
        groups.window, bounds.max_num_batched_tokens, bounds.max_model_len, bounds.block_size
    )
    bounds = replace(
        bounds, num_blocks=blocks, kv_groups=groups, window_blocks=most, swap_blocks=0
    )
    return Windowed(**{**vars(case), "bounds": bounds})


@st.composite
def groups_of_layers(draw: st.DrawFn) -> KvGroups:
    full = draw(st.sampled_from([0, 1, 1, 2]))
    sliding = draw(st.integers(1, 4)) if full else 1
    window = draw(st.sampled_from([2, 3, 5, 8, 16, 17, 33, 100, 400]))
    return KvGroups(full, sliding, window, layers=1)


@pytest.mark.parametrize("batching", BATCHING)
@settings(max_examples=40, deadline=None, suppress_health_check=ANY_HEALTH)
@given(st.data())
def test_random_scenarios_equal_the_reference(batching: str, data: st.DataObject) -> None:
    case = windowed(data.draw(cases(batching)), data.draw(groups_of_layers()))
    assert_equal_to_reference(case)


@pytest.mark.slow
@pytest.mark.parametrize("batching", BATCHING)
@settings(max_examples=2_000, deadline=None, suppress_health_check=ANY_HEALTH)
@given(st.data())
def test_many_random_scenarios_equal_the_reference(batching: str, data: st.DataObject) -> None:
    case = windowed(data.draw(cases(batching)), data.draw(groups_of_layers()))
    assert_equal_to_reference(case)
