"""Replicas with adapters equal a naive reference, to the tick, fast-forward or not."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hermes.catalog import find_device, find_model
from hermes.costs.lora import LoraCost, lora_modules
from hermes.scenario.units import seconds_to_ticks
from hermes.sim.deployment import Deployment
from hermes.sim.lora.memory import Loads
from hermes.sim.lora.plan import LoraPlan
from hermes.sim.simulation import simulate_deployment
from tests.oracle.adapters import AdapterReplica
from tests.oracle.reference import ROUTERS, Request, run_reference
from tests.sim.deployments import US, limits, workload
from tests.sim.test_against_oracle import COSTS, SCENARIO, Case, assert_equal_to_reference, cases

COST = LoraCost(
    lora_modules(find_model("llama-3.1-8b"), ("q_proj", "v_proj"), 1), 16, find_device("h100-sxm")
)


@dataclass(frozen=True)
class AdapterCase(Case):
    adapters: tuple[int, ...] = ()
    max_loras: int = 1
    max_cpu_loras: int = 1

    @property
    def plan(self) -> LoraPlan:
        return LoraPlan(
            max_loras=self.max_loras,
            max_cpu_loras=self.max_cpu_loras,
            slot_bytes=0,
            device_bytes=0,
            whole_bytes=0,
            host_ticks=1700 * US,
            store_ticks=9100 * US + 1,
            cost=COST,
        )

    def reference(self) -> tuple[list[Request], int]:
        requests, pool = self.unserved(), self.pool()
        run_reference(requests, pool, ROUTERS[self.routing]())
        return requests, sum(replica.steps for replica in pool)

    def pool(self) -> list[AdapterReplica]:
        return [
            AdapterReplica(
                self.bounds,
                self.batching,
                COSTS[self.cost](),
                self.order,
                lambda tokens: seconds_to_ticks(tokens * 2e-6),
                adapters=self.adapters,
                max_loras=self.max_loras,
                max_cpu_loras=self.max_cpu_loras,
                load_ticks=lambda loaded, stored: 1700 * US * loaded + (9100 * US + 1) * stored,
                overhead_ticks=lambda tokens, n: seconds_to_ticks(COST.seconds(tokens, n)),
            )
            for _ in range(self.replicas)
        ]

    def prefix(self, request: int, prompt: int) -> tuple[Hashable, ...]:  # type: ignore[override]
        keys = super().prefix(request, prompt)
        return tuple((self.adapters[request], key) for key in keys)

    def deployment(self) -> Deployment:
        plan = super().deployment()
        return replace(plan, clients=(replace(plan.clients[0], lora=self.plan),))

    def simulated(self, fast_forward: bool):
        traffic = workload(self.requests, self.priority, self.prefixes)
        traffic = replace(traffic, attributes={"adapter": np.array(self.adapters, np.int64)})
        return simulate_deployment(SCENARIO, self.deployment(), traffic, fast_forward, check=True)


@st.composite
def adapter_cases(draw: st.DrawFn, batching: str) -> AdapterCase:
    case = draw(cases(batching))
    bounds = replace(case.bounds, prefill_schedule_interval=1)
    most = draw(st.integers(1, 4))
    which = st.integers(-1, draw(st.integers(0, 6)))
    return AdapterCase(
        case.requests,
        bounds,
        batching,
        case.cost,
        case.replicas,
        case.routing,
        case.order,
        case.priority,
        case.prefixes,
        tuple(draw(which) for _ in case.requests),
        most,
        most + draw(st.integers(0, 2)),
    )


@pytest.mark.parametrize("batching", ["chunked", "continuous", "mixed", "static"])
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_random_scenarios_equal_the_reference(batching: str, data: st.DataObject) -> None:
    assert_equal_to_reference(data.draw(adapter_cases(batching)))


@pytest.mark.slow
@pytest.mark.parametrize("batching", ["chunked", "continuous", "mixed", "static"])
@settings(max_examples=3_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_many_random_scenarios_equal_the_reference(batching: str, data: st.DataObject) -> None:
    assert_equal_to_reference(data.draw(adapter_cases(batching)))


@pytest.mark.parametrize("order", ["fcfs", "priority", "shortest_prompt"])
def test_contention_for_slots_and_blocks_at_once(order: str) -> None:
    """Preempted requests come back when their adapter fits; loads are those of the reference."""
    requests = [(i * 500 * US, 10 + 37 * i % 90, 20 + 11 * i % 50) for i in range(60)]
    case = AdapterCase(
        requests,
        limits(num_blocks=14, max_num_seqs=6),
        order=order,
        priority=tuple(i * 7 % 3 for i in range(60)),
        adapters=tuple(i * i % 11 % 6 - 1 for i in range(60)),
        max_loras=2,
        max_cpu_loras=3,
    )
    assert_equal_to_reference(case)
    reference, pool = case.unserved(), case.pool()
    run_reference(reference, pool, ROUTERS[case.routing]())
    assert case.simulated(True).summary["adapter_loads"] == sum(r.loads for r in pool) > 10
    assert sum(r.preemptions for r in reference) > 10


def test_loads_are_counted_together() -> None:
    plan = AdapterCase([], limits()).plan
    assert plan.load_ticks(Loads(3, 2)) == 3 * 1700 * US + 2 * (9100 * US + 1)
