"""The replicas of a deployment, started, and the routes between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from hermes.scenario.units import seconds_to_ticks
from hermes.sim.clock import Clock
from hermes.sim.deployment import ClientPlan, Deployment, RoutePlan
from hermes.sim.engine import Engine
from hermes.sim.hand_off import HandOff
from hermes.sim.lockstep import Lockstep, LockstepReplica
from hermes.sim.lora.engine import LoraEngine
from hermes.sim.lora.replica import LoraReplica
from hermes.sim.network import FlowNetwork
from hermes.sim.operations.operator import Operator
from hermes.sim.operations.start_up import store_links
from hermes.sim.pipelined import PipelinedReplica, PipelineShape
from hermes.sim.replica import Observer, Replica, ReplicaListener, ReplicaSetup
from hermes.sim.route import Route
from hermes.sim.speculation.build import speculative_engine
from hermes.sim.speculation.replica import SpeculativeReplica
from hermes.sim.tiers.engine import TieredEngine
from hermes.sim.windows.engine import WindowEngine
from hermes.workload.streams import stream

__all__ = ["Pools", "RunOptions", "build_network", "build_route", "start_replicas"]

Pools = Mapping[str, Sequence[Replica]]
"""Replicas by client."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a simulation runs; none of it changes the results."""

    fast_forward: bool = True
    check: bool = False
    observer: Observer | None = None


def start_replicas(
    env: Clock,
    deployment: Deployment,
    listener: ReplicaListener,
    options: RunOptions,
    seed: int = 0,
) -> Pools:
    """Start every replica's process; they are numbered in the order of the clients."""
    pools: dict[str, list[Replica]] = {}
    index = 0
    for client in deployment.clients:
        pools[client.name] = pool = []
        for number in range(client.replicas):
            draws = partial(stream, seed, "speculation", client.name, str(number))
            pool.append(_start(env, index, client, options, listener, draws))
            index += 1
        _step_together(env, pool, client.data_parallel_size)
    return pools


def _step_together(env: Clock, pool: Sequence[Replica], size: int) -> None:
    """Let as many replicas of a pool at a time step together."""
    groups = [replica for replica in pool if isinstance(replica, LockstepReplica)]
    for begin in range(0, len(groups), size):
        Lockstep(env, groups[begin : begin + size])


def _start(
    env: Clock,
    index: int,
    client: ClientPlan,
    options: RunOptions,
    listener: ReplicaListener,
    draws: Callable[[], np.random.Generator],
) -> Replica:
    setup, speculation = _setup(client, options), client.speculation
    if speculation is not None:
        engine = speculative_engine(speculation, client.limits, client.order(), draws)
        setup = replace(setup, engine=engine)
        return SpeculativeReplica(env, index, setup, listener, speculation.verify)
    if client.lora is not None:
        return LoraReplica(env, index, setup, listener, client.lora)
    stages = client.pipeline_parallel_size
    if client.data_parallel_size > 1:
        return LockstepReplica(env, index, setup, listener)
    if stages == 1:
        return Replica(env, index, setup, listener)
    hop, latency = client.hop_seconds_per_token, client.hop_latency_s
    shape = PipelineShape(stages, lambda tokens: seconds_to_ticks(latency + hop * tokens))
    return PipelinedReplica(env, index, setup, listener, shape)


def _setup(client: ClientPlan, options: RunOptions) -> ReplicaSetup:
    return ReplicaSetup(
        _engine(client),
        client.batching(),
        client.costs,
        lambda tokens: seconds_to_ticks(tokens * client.move_seconds_per_token),
        fast_forward=options.fast_forward,
        check=options.check,
        layerwise=client.layerwise,
        front_end_ticks=client.costs.request_ticks,
        observer=options.observer,
    )


def _engine(client: ClientPlan) -> Engine:
    lora, order = client.lora, client.order()
    if lora is not None:
        return LoraEngine(client.limits, order, lora.max_loras, lora.max_cpu_loras)
    kind = Engine if client.kv is None else TieredEngine
    if client.limits.kv_groups is not None and not client.batching.engine_version():
        kind = WindowEngine
    return kind(client.limits, order, client.pipeline_parallel_size)


def build_network(env: Clock, deployment: Deployment) -> FlowNetwork:
    """Return the network of a deployment, with the links of its tiers and stores."""
    stores = store_links(deployment.clients)
    links = (*deployment.topology.links, *deployment.tiers.links, *stores)
    return FlowNetwork(env, links, deployment.topology.contention)


def build_route(
    operator: Operator,
    network: FlowNetwork,
    deployment: Deployment,
    plan: RoutePlan,
    seed: int,
    name: str,
) -> Route:
    """Return the route of a stage's calls.

    Args:
        operator: Has the replicas, and knows which are up.
        network: What KV flows over.
        deployment: The clients.
        plan: The route.
        seed: Of the scenario.
        name: Of its routing policy's random stream.
    """
    pools = operator.replicas
    replicas = _replicas(pools, plan)
    limits = {(r.engine.limits.max_model_len, r.engine.limits.num_blocks) for r in replicas}
    policy = plan.policy(stream(seed, "routing", name))
    uniform = len(limits) == 1
    if plan.decode is None:
        return Route(replicas, policy, uniform, gate=operator.gate(replicas, None))
    clients = {client.name: client for client in deployment.clients}
    prefill, decode = clients[plan.clients[0]], clients[plan.decode.clients[0]]
    hand_off = HandOff(
        network,
        deployment.topology,
        _replicas(pools, plan.decode),
        plan.decode.policy(stream(seed, "routing", name, "decode")),
        prefill.kv_bytes_per_token,
        decode.overflow_tokens,
    )
    gate = operator.gate(replicas, hand_off)
    return Route(replicas, policy, uniform, hand_off, prefill.overflow_tokens, gate=gate)


def _replicas(pools: Pools, plan: RoutePlan) -> tuple[Replica, ...]:
    return tuple(replica for name in plan.clients for replica in pools[name])
