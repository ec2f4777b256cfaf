"""Sequences taken out before they are done: as the reference does it, to the tick."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from hermes.metrics.gaps import TokenGaps
from hermes.scenario.units import seconds_to_ticks
from hermes.sim.clock import Clock, Timer
from hermes.sim.deployment import Deployment
from hermes.sim.fleet import RunOptions, start_replicas
from hermes.sim.hand_off import HandOff
from hermes.sim.laws import check_drained
from hermes.sim.network import FlowNetwork
from hermes.sim.replica import Replica
from hermes.sim.routing import ROUTING, RoutedRequest
from hermes.sim.sequence import Sequence
from tests.oracle.aborts import AbortingReplica, run_with_aborts
from tests.oracle.reference import NeverEndsError
from tests.sim.deployments import US, limits, workload
from tests.sim.test_against_oracle import ANY_HEALTH, BATCHING, COSTS, Case, cases
from tests.sim.test_disaggregation import client, pools
from tests.sim.test_pipeline_parallel import pipelined

Aborts = list[tuple[int, int]]


class Heard:
    """Notes who finished."""

    def __init__(self) -> None:
        self.last_token: dict[int, int] = {}

    def finished(self, replica: Replica, sequence: Sequence, now: int) -> None:
        self.last_token[sequence.request_id] = now


def run(
    case: Case, aborts: Aborts, fast_forward: bool, plan: Deployment | None = None
) -> tuple[Replica, Heard, list[Sequence]]:
    env, heard = Clock(initial_time=0), Heard()
    plan = plan or replace(case, replicas=1).deployment()
    options = RunOptions(fast_forward, check=True)
    [replica] = start_replicas(env, plan, heard, options)["chat"]  # type: ignore[arg-type]
    sequences = [
        Sequence(
            number,
            arrival,
            prompt,
            output,
            case.prefix(number, prompt),
            case.priority[number] if case.priority else 0,
            arrival + 100 * 10**9,
        )
        for number, (arrival, prompt, output) in enumerate(case.requests)
    ]
    for tick, number in aborts:
        at(env, tick, lambda s=sequences[number]: replica.abort(s))
    for sequence in sequences:
        at(env, sequence.arrival, lambda s=sequence: replica.submit(s))
    env.run()
    check_drained(replica.engine)
    return replica, heard, sequences


def at(env: Clock, tick: int, do: Callable[[], None]) -> None:
    Timer(env, lambda _: do()).set(tick, 1)


def assert_equal(case: Case, aborts: Aborts) -> None:
    requests = case.unserved()
    reference = AbortingReplica(
        case.bounds,
        case.batching,
        COSTS[case.cost](),
        case.order,
        lambda tokens: seconds_to_ticks(tokens * 2e-6),
    )
    try:
        run_with_aborts(requests, reference, aborts)
    except NeverEndsError:
        reject()
    finished = {r.id: r.token_times[-1] for r in requests if r.generated == r.output}
    gaps = sorted(
        later - earlier
        for r in requests
        for earlier, later in zip(r.token_times, r.token_times[1:], strict=False)
    )
    for fast_forward in (True, False):
        replica, heard, sequences = run(case, aborts, fast_forward)
        assert heard.last_token == finished
        assert [s.scheduled for s in sequences] == [r.scheduled for r in requests]
        assert [s.preemptions for s in sequences] == [r.preemptions for r in requests]
        assert replica.steps == reference.steps
        values, counts = TokenGaps.gathered([replica.gaps])
        assert values.repeat(counts).tolist() == gaps


@st.composite
def aborted(draw: st.DrawFn, batching: str) -> tuple[Case, Aborts]:
    case = draw(cases(batching))
    aborts = []
    for number, (arrival, _, _) in enumerate(case.requests):
        if draw(st.booleans()):
            wait = draw(st.integers(0, 30) | st.integers(0, 300_000).map(lambda x: x * US))
            aborts.append((arrival + wait, number))
    return case, sorted(aborts)


@pytest.mark.parametrize("batching", BATCHING)
@settings(max_examples=40, deadline=None, suppress_health_check=ANY_HEALTH)
@given(st.data())
def test_random_aborts_equal_the_reference(batching: str, data: st.DataObject) -> None:
    assert_equal(*data.draw(aborted(batching)))


@pytest.mark.slow
@pytest.mark.parametrize("batching", BATCHING)
@settings(max_examples=3_000, deadline=None, suppress_health_check=ANY_HEALTH)
@given(st.data())
def test_many_random_aborts_equal_the_reference(batching: str, data: st.DataObject) -> None:
    assert_equal(*data.draw(aborted(batching)))


@settings(max_examples=60, deadline=None, suppress_health_check=ANY_HEALTH)
@given(aborted("chunked"), st.integers(2, 4))
def test_aborts_with_batches_in_flight_leave_nothing_behind(
    drawn: tuple[Case, Aborts], stages: int
) -> None:
    case, aborts = drawn
    # Without room for whole prompts, requests may take blocks from each other for ever, as in vLLM.
    case = replace(case, bounds=replace(case.bounds, reserve_full_prompt=True))
    plan = pipelined(case, stages)
    run(case, aborts, fast_forward=True, plan=plan)


class Relay(Heard):
    """Hands sequences on, as a coordinator does."""

    hand_off: HandOff

    def prefilled(self, replica: Replica, sequence: Sequence, now: int) -> None:
        self.hand_off.prefilled(replica, sequence, now)

    def finishing_prompt(self, replica: Replica, sequence: Sequence, begin: int, end: int) -> None:
        self.hand_off.finishing_prompt(replica, sequence, begin, end)

    def fetching(self, replica: Replica, sequence: Sequence) -> None:
        self.hand_off.fetching(sequence, replica._env.now)


@settings(max_examples=150, deadline=None, suppress_health_check=ANY_HEALTH)
@given(
    st.lists(
        st.tuples(st.integers(1, 300), st.integers(1, 40), st.integers(0, 400_000) | st.none()),
        max_size=12,
    ),
    st.sampled_from([12, 60, 1000]),
    st.booleans(),
)
def test_aborts_at_any_point_of_a_hand_off_leave_nothing_behind(
    lengths: list[tuple[int, int, int | None]], num_blocks: int, layerwise: bool
) -> None:
    """Each sequence is served or aborted, and both sides end with all their blocks free."""
    room = min(num_blocks * 16, 300)
    bounds = limits(num_blocks=num_blocks)
    plan = pools(
        client(bounds, layerwise=layerwise, kv_bytes_per_token=131_072),
        client(bounds, kv_bytes_per_token=131_072),
        core_gb_per_s=2.0,
    )
    env, relay = Clock(initial_time=0), Relay()
    replicas = start_replicas(env, plan, relay, RunOptions(check=True))
    [source], [target] = replicas["p"], replicas["d"]
    relay.hand_off = HandOff(
        FlowNetwork(env, plan.topology.links),
        plan.topology,
        (target,),
        ROUTING.find("round_robin", "routing")(None),  # type: ignore[call-arg]
        131_072,
        None,
    )
    left = set()
    for number, (longest, output, abort_us) in enumerate(lengths):
        prompt = min(longest, room - output)
        sequence = Sequence(number, 0, prompt, output)
        sequence.hand_off = True
        sequence.routed = RoutedRequest(number, prompt, output, workload([(0, prompt, output)]))
        at(env, number * 10**9, lambda s=sequence: source.submit(s))
        if abort_us is not None:
            left.add(number)
            at(env, number * 10**9 + abort_us * US, lambda s=sequence: abort(relay, source, s))
    env.run()
    check_drained(source.engine)
    check_drained(target.engine)
    for replica in (source, target):
        assert not replica.engine.doomed
        assert not replica.engine.holdings.parked
    assert set(range(len(lengths))) - left <= set(relay.last_token)


def abort(relay: Relay, source: Replica, sequence: Sequence) -> None:
    if not relay.hand_off.abort(sequence.request_id):
        source.abort(sequence)
