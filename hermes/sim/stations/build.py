"""Stations of a deployment, started."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import lcm

from hermes.costs.encoder import EncoderCost
from hermes.costs.retrieval import SearchCost
from hermes.scenario.units import seconds_to_ticks
from hermes.sim.clock import Clock
from hermes.sim.network import FlowNetwork
from hermes.sim.stations.executor import Executor
from hermes.sim.stations.plan import EncoderPlan, SearchPlan, StationPlan, ToolPlan, WorkerPlan
from hermes.sim.stations.station import Batching, Job, Station, Work
from hermes.sim.topology import Topology

__all__ = ["start_stations"]

_UNLIMITED = 2**62


def start_stations(
    env: Clock,
    plans: Sequence[StationPlan],
    topology: Topology,
    network: FlowNetwork,
    first_index: int,
) -> Mapping[str, Sequence[Station]]:
    """Start every station; they are numbered after the replicas, in the order of the clients.

    Args:
        env: The SimPy environment.
        plans: The clients.
        topology: Where they stand.
        network: What memory traffic flows over.
        first_index: Number of the first station.
    """
    places: dict[str, list[int]] = {}
    for place, site in enumerate(topology.sites):
        places.setdefault(site.client, []).append(place)
    executors = _executors(env, plans, first_index)
    pools: dict[str, list[Station]] = {}
    index = first_index
    for plan in plans:
        host = plan.on or plan.name
        pools[plan.name] = pool = []
        for number in range(plan.replicas):
            place = places[host][number] if host in places else -1
            executor = executors[host][number]
            batching = _batching(plan, place, executor, topology)
            pool.append(Station(env, index, place, executor, batching, network))
            index += 1
    return pools


def _executors(
    env: Clock, plans: Sequence[StationPlan], first_index: int
) -> Mapping[str, Sequence[Executor]]:
    """Return what computes for each client, and for those on its devices."""
    shares: dict[str, int] = {}
    for plan in plans:
        own = 1
        if isinstance(plan, WorkerPlan):
            own = plan.workers
        elif isinstance(plan, ToolPlan):
            own = plan.concurrency
        host = plan.on or plan.name
        shares[host] = lcm(shares.get(host, 1), own)  # so that each divides it
    executors: dict[str, list[Executor]] = {}
    index = first_index
    for plan in plans:
        if not plan.on:
            executors[plan.name] = [
                Executor(env, index + number, shares[plan.name]) for number in range(plan.replicas)
            ]
        index += plan.replicas
    return executors


def _batching(plan: StationPlan, place: int, executor: Executor, topology: Topology) -> Batching:
    match plan:
        case EncoderPlan():
            work = _encoder_work(plan.costs)
            return Batching(work, plan.most_texts, plan.most_tokens, executor.shares)
        case SearchPlan():
            memory = topology.host_path(place) if plan.cost.device.kind == "cpu" else ()
            bandwidth = plan.cost.device.memory_bandwidth_gb_per_s * 1e9
            work = _search_work(plan.cost, bool(memory))
            limits = (plan.most_queries, _UNLIMITED, executor.shares)
            return Batching(work, *limits, memory=memory, memory_bytes_per_second=bandwidth)
        case _:
            workers = plan.workers if isinstance(plan, WorkerPlan) else executor.shares
            return Batching(_own_work, 1, _UNLIMITED, executor.shares // workers)


_Works = Callable[[Sequence[tuple[Job, int]]], Work]


def _encoder_work(costs: Sequence[EncoderCost]) -> _Works:
    known: dict[tuple[int, int, int, int], Work] = {}

    def work(parts: Sequence[tuple[Job, int]]) -> Work:
        cost = costs[parts[0][0].model]
        causal = cost.model.causal
        texts = tokens = pairs = 0
        for job, items in parts:
            length = job.tokens
            texts += items
            tokens += items * length
            pairs += items * (length * (length + 1) // 2 if causal else length * length)
        key = (parts[0][0].model, tokens, pairs, texts)
        if key not in known:
            known[key] = Work(seconds_to_ticks(cost.seconds(tokens, pairs, texts)))
        return known[key]

    return work


def _search_work(cost: SearchCost, shared_memory: bool) -> _Works:
    known: dict[int, Work] = {}

    def work(parts: Sequence[tuple[Job, int]]) -> Work:
        queries = sum(items for _, items in parts)
        if queries not in known:
            known[queries] = _search(cost, queries, shared_memory)
        return known[queries]

    return work


def _search(cost: SearchCost, queries: int, shared_memory: bool) -> Work:
    """Return the work of a search; where its memory is shared, the traffic flows apart."""
    if not shared_memory:
        return Work(seconds_to_ticks(cost.seconds(queries)))
    asked = cost.work(queries)
    compute, overhead = asked.compute_seconds, asked.overhead_seconds
    return Work(seconds_to_ticks(compute), round(asked.memory_bytes), seconds_to_ticks(overhead))


def _own_work(parts: Sequence[tuple[Job, int]]) -> Work:
    return Work(parts[0][0].ticks)
