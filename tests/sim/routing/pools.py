"""Replicas behind a router, for tests of routing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hermes.metrics import RequestColumns
from hermes.scenario.routing import RoutingBlock
from hermes.sim.deployment import Deployment
from hermes.sim.lane import Batch
from hermes.sim.replica import Replica
from hermes.sim.route_plan import RoutePlan
from hermes.sim.routing.plan import plan_policy
from hermes.sim.simulation import simulate_deployment
from hermes.workload import Prefixes, Workload
from tests.sim.deployments import deployment, one_call, workload
from tests.sim.test_against_oracle import SCENARIO


def routed(routing: str | Mapping[str, Any], replicas: int, **pool: Any) -> Deployment:
    """Return a pool of equal replicas behind a policy, written as in a scenario."""
    spec = routing if isinstance(routing, str) else RoutingBlock.model_validate(routing)
    plan = deployment(replicas=replicas, **pool)
    route = RoutePlan(("chat",), plan_policy(spec, "routing.chat"))
    return replace(plan, pipelines={"default": one_call(route)})


def traffic(
    requests: Sequence[tuple[int, int, int]],
    prefixes: Prefixes | None = None,
    session: Sequence[int] | None = None,
) -> Workload:
    """Return requests with sessions."""
    built = workload(requests, prefixes=prefixes)
    if session is None:
        return built
    return replace(built, session=np.array(session, np.int64))


@dataclass
class Seen:
    """An observer: the prompt tokens that were computed."""

    prompt_tokens: int = 0

    def __call__(self, replica: Replica, now: int, batch: Batch) -> None:
        del replica, now
        self.prompt_tokens += sum(tokens for _, tokens in batch.prefills)


def run(
    routing: str | Mapping[str, Any],
    requests: Workload,
    replicas: int,
    *,
    seed: int = 0,
    fast_forward: bool = True,
    seen: Seen | None = None,
    **pool: Any,
) -> RequestColumns:
    """Return the request log of a pool."""
    scenario = SCENARIO.model_copy(update={"seed": seed})
    plan = routed(routing, replicas, **pool)
    return simulate_deployment(
        scenario, plan, requests, fast_forward=fast_forward, check=not fast_forward, observer=seen
    ).requests
