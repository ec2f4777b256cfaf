"""From a scenario to a deployment that can exist: names looked up, sizes checked, memory counted.

Nothing here simulates, and nothing imports SimPy: a study resolves every candidate before it runs
any.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from hermes.catalog import Device, Model, find_device, find_model
from hermes.costs.build import build_step_cost
from hermes.costs.memory import (
    kv_bytes_per_token,
    kv_bytes_per_token_per_device,
    num_gpu_blocks,
    resolve_dtype,
    resolve_kv_dtype,
)
from hermes.costs.step import StepCost
from hermes.errors import InfeasibleError, InputError, UnknownNameError
from hermes.scenario.client import ClientSpec
from hermes.scenario.pipeline import Generate
from hermes.scenario.recall import RecallSpec
from hermes.scenario.scenario import Scenario
from hermes.sim.batching import BATCHING, BatchingPolicy
from hermes.sim.limits import EngineLimits
from hermes.sim.queues import QUEUE_ORDERS, QueueOrder
from hermes.sim.routing import ROUTING, RoutingPolicy
from hermes.sim.speculation.plan import (
    DraftModel,
    SpeculationPlan,
    draft_limits,
    find_draft_model,
    plan_speculation,
)
from hermes.sim.tiers.client import check_hit_rates, plan_kv_use
from hermes.sim.tiers.plan import KvUse, TierPlans, resolve_tiers
from hermes.sim.topology import ReplicaSite, Topology, resolve_topology

__all__ = ["ClientPlan", "Deployment", "RoutePlan", "resolve"]

T = TypeVar("T")

_HOP_LATENCY_S = 10e-6  # a send and receive between devices of a node
_PIPELINED_BATCHING = ("chunked", "mixed")

DEFAULT_ROUTING = "least_loaded"


@dataclass(frozen=True, slots=True)
class ClientPlan:
    """A pool of replicas, with everything about them known."""

    name: str
    serves: str
    model: Model
    device: Device
    dtype: str
    kv_dtype: str
    tensor_parallel_size: int
    replicas: int
    limits: EngineLimits
    batching: type[BatchingPolicy]
    order: type[QueueOrder]
    costs: StepCost
    move_seconds_per_token: float  # of KV, between one device and host memory
    usd_per_device_hour: float | None
    kv_bytes_per_token: int  # all layers, whole model
    layerwise: bool = False
    overflow_tokens: int | None = None
    pipeline_parallel_size: int = 1
    hop_latency_s: float = 0.0  # between two pipeline stages
    hop_seconds_per_token: float = 0.0
    speculation: SpeculationPlan | None = None
    kv: KvUse | None = None  # of tiers; None: it uses none

    @property
    def devices(self) -> int:
        """Devices of all replicas."""
        return self.replicas * self.devices_per_replica

    @property
    def devices_per_replica(self) -> int:
        """Devices of one replica."""
        return self.tensor_parallel_size * self.pipeline_parallel_size


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """Which clients serve a pipeline's stage, and how one of their replicas is chosen."""

    clients: tuple[str, ...]
    policy: type[RoutingPolicy]
    decode: RoutePlan | None = None  # who goes on once the prompt is done
    recall: RecallSpec | None = None  # stored context in front of the prompts


@dataclass(frozen=True, slots=True)
class Deployment:
    """A scenario's clients and routes, checked."""

    clients: tuple[ClientPlan, ...]
    routes: dict[str, RoutePlan]  # by pipeline
    topology: Topology
    tiers: TierPlans = field(default_factory=TierPlans)

    @property
    def devices(self) -> int:
        """Devices of all clients."""
        return sum(client.devices for client in self.clients)

    @property
    def usd_per_hour(self) -> float | None:
        """Price of all devices for an hour; None where one has no price."""
        total = 0.0
        for client in self.clients:
            if client.usd_per_device_hour is None:
                return None
            total += client.usd_per_device_hour * client.devices
        return total

    @property
    def cost_model(self) -> str:
        """Where step times come from, for reports."""
        labels = []
        for client in self.clients:
            labels.append(client.costs.label)
            if client.speculation is not None:
                labels.append(client.speculation.verify.label)
        return "; ".join(dict.fromkeys(label for label in labels if label))


def resolve(scenario: Scenario, folder: Path | None = None) -> Deployment:
    """Check that a scenario's deployment can exist, and return it.

    Args:
        scenario: The scenario.
        folder: Where relative paths in it start; default: the current folder.

    Raises:
        UnknownNameError: a device, model, policy or client that nothing answers to.
        InfeasibleError: a model that does not fit, a size that does not divide.
    """
    clients = tuple(
        _client_plan(name, spec, scenario, folder) for name, spec in scenario.clients.items()
    )
    routes = {
        name: _route_plan(
            f"pipelines.{name}.0.generate", stages[0].generate, clients, scenario, folder
        )
        for name, stages in scenario.pipelines.items()
    }
    _require_reached(scenario, routes)
    topology = _topology(scenario, clients)
    return Deployment(clients, routes, topology, _tiers(scenario, clients, topology))


def _tiers(scenario: Scenario, clients: tuple[ClientPlan, ...], topology: Topology) -> TierPlans:
    uses = {client.name: client.kv for client in clients if client.kv is not None}
    specs = None if scenario.topology is None else scenario.topology.tiers
    return resolve_tiers(specs, topology, uses)


def _topology(scenario: Scenario, clients: tuple[ClientPlan, ...]) -> Topology:
    return resolve_topology(
        scenario.topology,
        [
            ReplicaSite(client.name, number, client.device, client.devices_per_replica)
            for client in clients
            for number in range(client.replicas)
        ],
    )


def _client_plan(
    name: str, spec: ClientSpec, scenario: Scenario, folder: Path | None
) -> ClientPlan:
    try:
        return _plan(name, spec, scenario, folder)
    except InputError as error:
        raise error.inside(f"clients.{name}") from None


def _plan(name: str, spec: ClientSpec, scenario: Scenario, folder: Path | None) -> ClientPlan:
    device = _looked_up("device", lambda: find_device(spec.device, scenario.devices))
    model = _looked_up("model", lambda: find_model(spec.model, folder))
    dtype = resolve_dtype(model, spec.dtype)
    kv_dtype = resolve_kv_dtype(model, spec.kv_cache_dtype)
    costs = build_step_cost(
        spec.costs, model, device, dtype, kv_dtype, spec.tensor_parallel_size, folder
    )
    kv_bytes = kv_bytes_per_token_per_device(model, kv_dtype, spec.tensor_parallel_size)
    draft = find_draft_model(spec, model, kv_dtype, folder)
    speculation = plan_speculation(spec, draft, device, kv_dtype, costs, folder)
    limits = _limits(spec, model, device, dtype, kv_dtype, kv_bytes, draft)
    batching = BATCHING.find(spec.batching, "batching")
    order = QUEUE_ORDERS.find(spec.scheduling_policy, "scheduling_policy")
    batching().check(limits, order)
    if spec.serves[0] not in batching.serves:
        raise InfeasibleError(
            f"batching {spec.batching!r} does not serve {spec.serves[0]!r} (allowed: "
            f"{', '.join(batching.serves)})",
            "serves",
        )
    _check_pipeline(spec, model)
    price = spec.usd_per_device_hour
    return ClientPlan(
        name=name,
        serves=spec.serves[0],
        model=model,
        device=device,
        dtype=dtype,
        kv_dtype=kv_dtype,
        tensor_parallel_size=spec.tensor_parallel_size,
        replicas=spec.replicas,
        limits=limits,
        batching=batching,
        order=order,
        costs=costs,
        move_seconds_per_token=kv_bytes / (device.host_bandwidth_gb_per_s * 1e9),
        usd_per_device_hour=device.usd_per_hour if price is None else price,
        speculation=speculation,
        kv_bytes_per_token=kv_bytes_per_token(model, kv_dtype),
        layerwise=spec.kv_transfer == "layerwise",
        overflow_tokens=spec.overflow_tokens,
        pipeline_parallel_size=spec.pipeline_parallel_size,
        hop_latency_s=_HOP_LATENCY_S,
        hop_seconds_per_token=_hop_seconds_per_token(spec, model, device),
        kv=plan_kv_use(spec, model, kv_dtype, batching),
    )


def _check_pipeline(spec: ClientSpec, model: Model) -> None:
    stages = spec.pipeline_parallel_size
    if stages > model.num_hidden_layers:
        raise InfeasibleError(
            f"{stages} stages are more than the {model.num_hidden_layers} layers of {model.name}",
            "pipeline_parallel_size",
        )
    if stages > 1 and spec.batching not in _PIPELINED_BATCHING:
        raise InfeasibleError(
            f"batching {spec.batching!r} does not keep several batches in flight (allowed with "
            f"pipeline_parallel_size {stages}: {', '.join(_PIPELINED_BATCHING)})",
            "batching",
        )
    if stages > 1 and spec.prefill_schedule_interval > 1:
        raise InfeasibleError(
            "not modelled together with pipeline_parallel_size; leave one of them at 1",
            "prefill_schedule_interval",
        )


def _hop_seconds_per_token(spec: ClientSpec, model: Model, device: Device) -> float:
    """Return the time to bring one token's activations, in 16 bits, to the next stage.

    Each device of a stage sends its share; between nodes the link of the host stands in.
    """
    stages, size = spec.pipeline_parallel_size, spec.tensor_parallel_size
    if stages == 1:
        return 0.0
    inside = stages * size <= device.link_domain and device.link_bandwidth_gb_per_s > 0
    gb_per_s = device.link_bandwidth_gb_per_s if inside else device.host_bandwidth_gb_per_s
    return 2 * model.hidden_size / (gb_per_s * 1e9)


def _looked_up(field: str, find: Callable[[], T]) -> T:
    """Return what `find` finds; its errors name the field that asked for it."""
    try:
        return find()
    except InputError as error:
        raise error if error.field or error.file else error.inside(field) from None


def _limits(
    spec: ClientSpec,
    model: Model,
    device: Device,
    dtype: str,
    kv_dtype: str,
    kv_bytes: int,
    draft: DraftModel | None,
) -> EngineLimits:
    if spec.num_gpu_blocks_override is not None:
        blocks = spec.num_gpu_blocks_override
    else:
        blocks = num_gpu_blocks(
            device,
            model,
            dtype,
            kv_dtype,
            spec.tensor_parallel_size,
            spec.block_size,
            spec.gpu_memory_utilization,
            spec.pipeline_parallel_size,
        )
        if draft is not None:
            blocks = draft.blocks_beside(blocks, kv_bytes, spec.block_size)
    usable = blocks - 1  # vLLM keeps one as the null block
    capacity = usable * spec.block_size
    longest = min(model.max_position_embeddings or capacity, capacity)
    if spec.max_model_len is not None:
        if spec.max_model_len > capacity:
            raise InfeasibleError(
                f"the KV cache holds {capacity} tokens, fewer than the {spec.max_model_len} asked "
                "for; use fewer, more devices, or a smaller kv_cache_dtype",
                "max_model_len",
            )
        longest = spec.max_model_len
    return EngineLimits(
        max_num_seqs=spec.max_num_seqs,
        max_num_batched_tokens=spec.max_num_batched_tokens,
        block_size=spec.block_size,
        num_blocks=usable,
        max_model_len=longest,
        watermark_blocks=int(spec.watermark * blocks),
        long_prefill_token_threshold=spec.long_prefill_token_threshold,
        prefill_schedule_interval=spec.prefill_schedule_interval,
        reserve_full_prompt=spec.scheduler_reserve_full_isl,
        enable_prefix_caching=spec.enable_prefix_caching,
        swap_blocks=int(spec.swap_space_gb * 1e9 / (kv_bytes * spec.block_size)),
        **draft_limits(spec.speculative_config),
    )


def _route_plan(
    field: str,
    stage: Generate,
    clients: tuple[ClientPlan, ...],
    scenario: Scenario,
    folder: Path | None,
) -> RoutePlan:
    candidates = [client for client in clients if stage.client in {None, client.name}]
    if stage.model is not None:
        wanted = stage.model
        model = _looked_up(f"{field}.model", lambda: find_model(wanted, folder))
        served = sorted({client.model.name for client in candidates})
        candidates = [client for client in candidates if client.model == model]
        if not candidates:
            raise UnknownNameError(
                f"no client serves {model.name}; served: {', '.join(served)}", f"{field}.model"
            )
    models = sorted({client.model.name for client in candidates})
    if len(models) > 1:
        raise InputError(
            f"the clients serve several models, so the stage must name one: {', '.join(models)}",
            f"{field}.model",
        )
    plan = _phases(field, candidates, scenario)
    if stage.recall is not None:
        tiers = [len(client.kv.tiers) if client.kv else 0 for client in candidates]
        check_hit_rates(stage.recall, tiers, field)
    return replace(plan, recall=stage.recall)


def _phases(field: str, clients: list[ClientPlan], scenario: Scenario) -> RoutePlan:
    """Return the route over clients of one model: whole, or prefill and then decode."""
    names = {
        kind: tuple(client.name for client in clients if client.serves == kind)
        for kind in ("generate", "prefill", "decode")
    }
    whole, prefill, decode = names.values()
    if whole and (prefill or decode):
        raise InputError(
            f"clients {', '.join(whole)} serve whole requests and {', '.join(prefill + decode)} a "
            "phase of them, so the stage must name a client",
            f"{field}.client",
        )
    if whole:
        return RoutePlan(whole, _routing(scenario, whole))
    if not (prefill and decode):
        there, missing = ("prefill", "decode") if prefill else ("decode", "prefill")
        raise InputError(
            f"client {(prefill + decode)[0]} serves {there}, but none serves {missing}",
            f"clients.{(prefill + decode)[0]}.serves",
        )
    formats = {client.name: client.kv_dtype for client in clients}
    if len(set(formats.values())) > 1:
        raise InputError(
            f"KV that is handed over must have one format, given: {formats}",
            f"clients.{decode[0]}.kv_cache_dtype",
        )
    return RoutePlan(
        prefill, _routing(scenario, prefill), RoutePlan(decode, _routing(scenario, decode))
    )


def _routing(scenario: Scenario, clients: tuple[str, ...]) -> type[RoutingPolicy]:
    chosen = {name: scenario.routing.get(name, DEFAULT_ROUTING) for name in clients}
    if len(set(chosen.values())) > 1:
        raise InputError(f"clients that share a stage need one policy, given: {chosen}", "routing")
    return ROUTING.find(chosen[clients[0]], f"routing.{clients[0]}")


def _require_reached(scenario: Scenario, routes: dict[str, RoutePlan]) -> None:
    mix = scenario.workload.mix
    reached = {
        client
        for pipeline, route in routes.items()
        if mix is None or mix.get(pipeline, 0) > 0
        for client in (*route.clients, *(route.decode.clients if route.decode else ()))
    }
    idle = [name for name in scenario.clients if name not in reached]
    if idle:
        raise InputError(
            "no pipeline reaches this client; remove it or route to it", f"clients.{idle[0]}"
        )
