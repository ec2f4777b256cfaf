"""Builders of small deployments and workloads for tests, below the level of scenario files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hermes.catalog import find_device, find_model
from hermes.costs.linear import LinearStepCost
from hermes.costs.step import StepCost
from hermes.scenario.costs import LinearCosts
from hermes.scenario.pipeline import Generate
from hermes.scenario.topology import TopologySpec
from hermes.sim.batching import BATCHING
from hermes.sim.deployment import ClientPlan, Deployment, RoutePlan
from hermes.sim.limits import EngineLimits
from hermes.sim.pipelines.plan import CallPlan, PipelinePlan
from hermes.sim.queues import QUEUE_ORDERS
from hermes.sim.routing import ROUTING
from hermes.sim.topology import ReplicaSite, Topology, resolve_topology
from hermes.workload import Prefixes, Workload

US = 10**6  # ticks


def linear(step_us: float = 4000, token_us: float = 20, context_token_ns: float = 8) -> StepCost:
    return LinearStepCost(
        LinearCosts(step_us=step_us, token_us=token_us, context_token_ns=context_token_ns)
    )


def limits(**changes: int) -> EngineLimits:
    values: dict[str, int] = {
        "max_num_seqs": 128,
        "max_num_batched_tokens": 2048,
        "block_size": 16,
        "num_blocks": 100_000,
        "max_model_len": 10**9,
    }
    return EngineLimits(**(values | changes))


def deployment(
    *,
    batching: str = "chunked",
    bounds: EngineLimits | None = None,
    costs: StepCost | None = None,
    replicas: int = 1,
    routing: str = "least_loaded",
    order: str = "fcfs",
) -> Deployment:
    client = ClientPlan(
        name="chat",
        serves="generate",
        model=find_model("llama-3.1-8b"),
        device=find_device("h100-sxm"),
        dtype="bf16",
        kv_dtype="bf16",
        tensor_parallel_size=1,
        replicas=replicas,
        limits=bounds or limits(),
        batching=BATCHING.find(batching, "batching"),
        order=QUEUE_ORDERS.find(order, "scheduling_policy"),
        costs=costs or linear(),
        move_seconds_per_token=2e-6,
        usd_per_device_hour=1.0,
        kv_bytes_per_token=131_072,
    )
    route = RoutePlan(("chat",), ROUTING.find(routing, "routing"))
    return Deployment((client,), (), {"default": one_call(route)}, topology_of([client]))


def one_call(route: RoutePlan, name: str = "default") -> PipelinePlan:
    """Return a pipeline of one model call."""
    call = CallPlan(f"pipelines.{name}.0.generate", "generate", 0, Generate(), route)
    return PipelinePlan(name, (call,), ("generate",))


def route_of(deployment: Deployment) -> RoutePlan:
    """Return the route of the only call of a deployment's only pipeline."""
    (pipeline,) = deployment.pipelines.values()
    assert pipeline.only_call is not None
    return pipeline.only_call.route


def topology_of(clients: Sequence[ClientPlan], spec: TopologySpec | None = None) -> Topology:
    """Return the links between the replicas of some clients."""
    sites = [
        ReplicaSite(client.name, number, client.device, client.tensor_parallel_size)
        for client in clients
        for number in range(client.replicas)
    ]
    return resolve_topology(spec, sites)


def workload(
    requests: Sequence[tuple[int, int, int]],
    priority: Sequence[int] | None = None,
    prefixes: Prefixes | None = None,
) -> Workload:
    """Build a workload from (arrival tick, prompt tokens, output tokens), in order of arrival."""
    columns = np.array(requests, np.int64).reshape(-1, 3)
    return Workload(
        arrival_ticks=columns[:, 0].copy(),
        prompt_tokens=columns[:, 1].copy(),
        output_tokens=columns[:, 2].copy(),
        pipeline=np.zeros(len(columns), np.int64),
        pipeline_names=("default",),
        source="test",
        priority=None if priority is None else np.array(priority, np.int64),
        prefixes=prefixes,
    )
