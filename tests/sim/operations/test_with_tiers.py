"""Replicas that come and go and find KV in memory tiers, which outlive them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from hermes.errors import SimulationError
from hermes.sim.operations.plan import OperationsPlan
from hermes.workload import Prefixes
from tests.sim.deployments import limits, linear, workload
from tests.sim.operations.cases import (
    MS,
    assert_steps_do_not_matter,
    operated,
    operations,
    outages,
)
from tests.sim.tiers.deployments import tiered
from tests.sim.tiers.test_tiers import BOUNDS, POLICY, REQUEST, TIER, shared_documents


def check(data: st.DataObject) -> None:
    policy, bounds = data.draw(POLICY), limits(**data.draw(BOUNDS))
    tiers = data.draw(st.lists(TIER, min_size=1, max_size=2))
    replicas = data.draw(st.sampled_from([1, 2, 3]))
    plan = tiered(
        {f"t{n}": tier for n, tier in enumerate(tiers)},
        policy,
        {"devices_per_node": 2},
        bounds=replace(bounds, reserve_full_prompt=True),
        batching=data.draw(st.sampled_from(["chunked", "continuous", "mixed", "static"])),
        replicas=replicas,
        order=data.draw(st.sampled_from(["fcfs", "shortest_prompt", "fair"])),
    )
    traffic = shared_documents(data.draw(st.lists(REQUEST, min_size=5, max_size=30)))
    plan = operated(plan, chat=data.draw(operations(replicas)))
    try:
        assert_steps_do_not_matter(plan, traffic)
    except SimulationError as error:
        if "preempt each other in turn, for ever" not in str(error):
            raise
        reject()


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_random_deployments_keep_the_laws(data: st.DataObject) -> None:
    check(data)


@pytest.mark.slow
@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_many_random_deployments_keep_the_laws(data: st.DataObject) -> None:
    check(data)


def test_a_replica_that_comes_back_finds_its_kv_in_a_tier() -> None:
    """Its own cache is cold: the two blocks that can be shared are fetched, not found."""
    plan = tiered(
        {"pool": {"shared_by": "all", "bandwidth_gb_per_s": 100.0, "latency_us": 0.0}},
        bounds=limits(),
        costs=linear(1000, 0, 0),
    )
    traffic = workload(
        [(0, 40, 1), (10 * MS, 40, 1), (30 * MS, 40, 1)], prefixes=Prefixes(16, ((1, 2),) * 3)
    )
    failures = outages((0, 20 * MS, 5 * MS, 0))
    plan = operated(plan, chat=OperationsPlan(1, failures=failures))
    requests = assert_steps_do_not_matter(plan, traffic).requests
    assert requests.reused_tokens.tolist() == [0, 32, 0]
    assert requests.fetched_tokens.tolist() == [0, 0, 32]
