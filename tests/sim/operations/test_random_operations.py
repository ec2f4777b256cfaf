"""Random deployments whose replicas fail, drain, start and are taken away."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes.sim.deployment import Deployment
from hermes.workload import Workload
from tests.sim.deployments import deployment, topology_of, workload
from tests.sim.operations.cases import (
    assert_steps_do_not_matter,
    facts,
    operated,
    operations,
    run,
    split,
)
from tests.sim.test_against_oracle import ANY_HEALTH, BATCHING, COSTS, Case, cases

QUICK = settings(max_examples=15, deadline=None, suppress_health_check=ANY_HEALTH)


def whole(case: Case, draw: st.DataObject) -> Deployment:
    plan = deployment(
        batching=case.batching,
        bounds=case.bounds,
        costs=COSTS[case.cost](),
        replicas=case.replicas,
        routing=case.routing,
        order=case.order,
    )
    return operated(plan, chat=draw.draw(operations(case.replicas)))


def drawn(data: st.DataObject, batching: str) -> Case:
    """A case whose requests do not preempt each other for ever."""
    case = data.draw(cases(batching))
    return replace(case, bounds=replace(case.bounds, reserve_full_prompt=True))


def requests_of(case: Case) -> Workload:
    return workload(case.requests, case.priority, case.prefixes)


@QUICK
@given(st.data())
def test_steps_taken_together_change_nothing(data: st.DataObject) -> None:
    check_whole(data)


@QUICK
@given(st.data())
def test_batches_in_flight_are_lost_with_their_replica(data: st.DataObject) -> None:
    check_in_flight(data)


@QUICK
@given(st.data())
def test_hand_overs_from_and_to_lost_replicas(data: st.DataObject) -> None:
    check_hand_overs(data)


def check_whole(data: st.DataObject) -> None:
    case = drawn(data, data.draw(st.sampled_from(BATCHING)))
    assert_steps_do_not_matter(whole(case, data), requests_of(case))


def check_in_flight(data: st.DataObject) -> None:
    case = drawn(data, "chunked")
    case = replace(case, bounds=replace(case.bounds, prefill_schedule_interval=1))
    plan = whole(case, data)
    (client,) = plan.clients
    client = replace(client, pipeline_parallel_size=2, hop_latency_s=1e-5)
    plan = replace(plan, clients=(client,), topology=topology_of([client]))
    assert_steps_do_not_matter(plan, requests_of(case))


def check_hand_overs(data: st.DataObject) -> None:
    case = drawn(data, "chunked")
    room = case.bounds.num_blocks * case.bounds.block_size
    (client,) = deployment(bounds=case.bounds, costs=COSTS[case.cost]()).clients
    client = replace(client, kv_bytes_per_token=data.draw(st.sampled_from([0, 10**5, 10**8])))
    sizes = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    overflow = st.none() | st.integers(1, room)
    prefill = replace(
        client,
        replicas=sizes[0],
        layerwise=data.draw(st.booleans()),
        overflow_tokens=data.draw(overflow),
    )
    decode = replace(client, replicas=sizes[1], overflow_tokens=data.draw(overflow))
    plan = split(prefill, decode, case.routing)
    p = data.draw(st.none() | operations(sizes[0]))
    d = data.draw(st.none() | operations(sizes[1], decode=True))
    assert_steps_do_not_matter(operated(plan, p=p, d=d), requests_of(case))


@pytest.mark.slow
@settings(max_examples=1500, deadline=None, suppress_health_check=ANY_HEALTH)
@given(st.data())
def test_many_of_them(data: st.DataObject) -> None:
    check = data.draw(st.sampled_from([check_whole, check_in_flight, check_hand_overs]))
    check(data)


@QUICK
@given(st.data())
def test_the_same_run_twice_is_the_same(data: st.DataObject) -> None:
    case = drawn(data, "chunked")
    plan, requests = whole(case, data), requests_of(case)
    assert facts(run(plan, requests)) == facts(run(plan, requests))
