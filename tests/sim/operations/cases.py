"""Deployments whose replicas come and go, and what must hold of any run of them."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from hermes.metrics.requests import COMPLETED, FAILED, REJECTED
from hermes.metrics.stages import PARTS
from hermes.sim.deployment import ClientPlan, Deployment, RoutePlan
from hermes.sim.operations.plan import (
    AutoscalePlan,
    FailurePlan,
    OperationsPlan,
    OutagePlan,
    StartUpPlan,
    UpgradePlan,
)
from hermes.sim.routing import ROUTING
from hermes.sim.simulation import SimulationResult, simulate_deployment
from hermes.workload import Workload
from tests.sim.deployments import deployment, one_call, topology_of
from tests.sim.test_against_oracle import SCENARIO

MS = 10**9
S = 10**12

REASONS = {
    COMPLETED: {""},
    REJECTED: {"queue_full", "deadline_passed", "no_replica_up"},
    FAILED: {"replica_lost", "queue_full", "no_replica_up"},
}


def operated(plan: Deployment, **operations: OperationsPlan | None) -> Deployment:
    """The same with its clients operated, by name."""
    clients = tuple(
        replace(client, operations=operations.get(client.name)) for client in plan.clients
    )
    return replace(plan, clients=clients)


def pool(operations: OperationsPlan | None, **options: object) -> Deployment:
    """One client, `chat`, of requests whole."""
    return operated(deployment(**options), chat=operations)  # type: ignore[arg-type]


def split(prefill: ClientPlan, decode: ClientPlan, routing: str) -> Deployment:
    """A prefill pool `p` and a decode pool `d`."""
    chosen = ROUTING.find(routing, "routing")
    clients = (
        replace(prefill, name="p", serves="prefill"),
        replace(decode, name="d", serves="decode"),
    )
    route = RoutePlan(("p",), chosen, RoutePlan(("d",), chosen))
    return Deployment(clients, (), {"default": one_call(route)}, topology_of(clients))


def outages(*planned: tuple[int, int, int | None, int | None], released: bool = False):
    """Planned outages: replica, tick, ticks down and of notice."""
    return FailurePlan(None, 0.0, 0, tuple(OutagePlan(*p) for p in planned), None, released)


def run(plan: Deployment, requests: Workload, fast_forward: bool = True) -> SimulationResult:
    return simulate_deployment(SCENARIO, plan, requests, fast_forward, check=True)


def facts(result: SimulationResult) -> list[object]:
    """All that a run says of its requests."""
    requests, stages = result.requests, result.requests.stages
    columns = [
        requests.status,
        requests.scheduled,
        requests.first_token,
        requests.last_token,
        requests.finished,
        requests.reused_tokens,
        requests.preemptions,
        requests.retries,
        requests.replica,
        *(stages.part(part) for part in PARTS),
        stages.begin,
        stages.server,
    ]
    return [*(column.tolist() for column in columns), requests.reason]


def require_laws(result: SimulationResult) -> None:
    """Every request ends once, with a reason; every tick of it is accounted for."""
    requests, stages, summary = result.requests, result.requests.stages, result.summary
    assert summary["completed"] + summary["rejected"] + summary["failed"] == len(requests.arrival)
    for status, reason in zip(requests.status.tolist(), requests.reason, strict=True):
        assert reason in REASONS[status], (status, reason)
    for part in PARTS:
        assert (stages.part(part) >= 0).all(), part
    total = sum(stages.of_requests(part, len(requests.arrival)) for part in PARTS)
    done = requests.completed
    assert (total[done] == (requests.finished - requests.arrival)[done]).all()
    assert (requests.arrival <= requests.scheduled)[done].all()
    assert (requests.scheduled < requests.first_token)[done].all()
    assert (requests.first_token <= requests.last_token)[done].all()
    assert 0 <= summary["availability"] <= 1
    assert summary["utilization"] is None or 0 <= summary["utilization"] <= 1


def assert_steps_do_not_matter(plan: Deployment, requests: Workload) -> SimulationResult:
    """Check the laws, and that undisturbed steps taken together change nothing."""
    fast, slow = run(plan, requests), run(plan, requests, fast_forward=False)
    assert facts(fast) == facts(slow)
    assert fast.summary == slow.summary
    require_laws(fast)
    return fast


# -- random ones ------------------------------------------------------------------------------

ticks = st.integers(0, 2000).map(lambda ms: ms * MS)


@st.composite
def failure_plans(draw: st.DrawFn, replicas: int) -> FailurePlan:
    notice = st.none() | st.just(0) | ticks
    planned = st.builds(OutagePlan, st.integers(0, replicas - 1), ticks, st.none() | ticks, notice)
    random = draw(st.booleans())
    return FailurePlan(
        mtbf_s=draw(st.sampled_from([0.05, 0.3, 2.0])) if random else None,
        mttr_s=draw(st.sampled_from([0.0, 0.01, 0.5])),
        notice=draw(st.sampled_from([0, 0, 5 * MS, 100 * MS])),
        outages=tuple(draw(st.lists(planned, max_size=4))),
        upgrade=draw(st.none() | st.builds(UpgradePlan, ticks, ticks, st.none() | ticks)),
        released=draw(st.booleans()),
    )


@st.composite
def operations(draw: st.DrawFn, replicas: int, decode: bool = False) -> OperationsPlan:
    scale = st.builds(
        AutoscalePlan,
        least=st.just(1),
        most=st.just(replicas),
        signal=st.sampled_from(["requests", "queue", "kv", "utilization"]),
        target=st.sampled_from([0.1, 0.5, 1.0, 3.0]),
        interval=st.sampled_from([10 * MS, 100 * MS]),
        cooldown=st.sampled_from([0, 50 * MS]),
    )
    autoscale = draw(st.none() | scale)
    return OperationsPlan(
        replicas=1 if autoscale else replicas,
        max_queue=None if decode else draw(st.none() | st.integers(0, 4)),
        max_pool_queue=None if decode else draw(st.none() | st.integers(0, 4)),
        timeout=None if decode else draw(st.none() | st.integers(1, 100).map(lambda n: n * MS)),
        retries=draw(st.integers(0, 3)),
        resume=draw(st.booleans()),
        failures=draw(st.none() | failure_plans(replicas)),
        start_up=draw(
            st.builds(
                StartUpPlan,
                st.sampled_from([0, 20 * MS]),
                st.sampled_from([0, 10**9]),
                st.sampled_from(["host", "store"]),
            )
        ),
        autoscale=autoscale,
    )
