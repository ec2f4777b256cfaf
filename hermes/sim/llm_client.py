"""LLM clients of a deployment: names looked up, sizes checked, memory counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hermes.catalog import Device, Model, find_device, find_model
from hermes.costs.build import build_step_cost
from hermes.costs.links import stage_hop
from hermes.costs.memory import (
    kv_bytes_per_token,
    kv_bytes_per_token_per_device,
    num_gpu_blocks,
    resolve_dtype,
    resolve_kv_dtype,
    weight_bytes_per_device,
)
from hermes.costs.step import StepCost
from hermes.errors import InfeasibleError, InputError
from hermes.scenario.clients import LlmClientSpec
from hermes.scenario.scenario import Scenario
from hermes.sim.batching import BATCHING, BatchingPolicy
from hermes.sim.limits import EngineLimits
from hermes.sim.looking import looked_up
from hermes.sim.lora.plan import LoraPlan, plan_lora
from hermes.sim.operations.plan import OperationsPlan, plan_operations
from hermes.sim.queues import QUEUE_ORDERS, QueueOrder
from hermes.sim.speculation.plan import (
    DraftModel,
    SpeculationPlan,
    draft_limits,
    find_draft_model,
    plan_speculation,
)
from hermes.sim.tiers.client import plan_kv_use
from hermes.sim.tiers.plan import KvUse
from hermes.sim.windows.plan import longest_context, plan_groups, window_blocks

__all__ = ["ClientPlan", "plan_client"]

_ACTIVATION_BYTES = 2
_PIPELINED_BATCHING = ("chunked", "mixed")


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
    data_parallel_size: int = 1  # replicas that step together, one after the other
    hop_latency_s: float = 0.0  # between two pipeline stages
    hop_seconds_per_token: float = 0.0
    speculation: SpeculationPlan | None = None
    kv: KvUse | None = None  # of memory tiers; None: it uses none
    quality: Mapping[str, float] | None = None  # share of right answers, by difficulty class
    operations: OperationsPlan | None = None
    lora: LoraPlan | None = None  # adapters; None: it serves none

    @property
    def devices(self) -> int:
        """Devices of all replicas."""
        return self.replicas * self.devices_per_replica

    @property
    def devices_per_replica(self) -> int:
        """Devices of one replica."""
        return self.tensor_parallel_size * self.pipeline_parallel_size


def plan_client(
    name: str, spec: LlmClientSpec, scenario: Scenario, folder: Path | None
) -> ClientPlan:
    """Return a client with everything about it known.

    Raises:
        InputError: naming the field of the client that cannot be.
    """
    try:
        return _plan(name, spec, scenario, folder)
    except InputError as error:
        raise error.inside(f"clients.{name}") from None


def _plan(name: str, spec: LlmClientSpec, scenario: Scenario, folder: Path | None) -> ClientPlan:
    device = looked_up("device", lambda: find_device(spec.device, scenario.devices))
    model = looked_up("model", lambda: find_model(spec.model, folder))
    _check_data_parallel(spec, model, device)
    dtype = resolve_dtype(model, spec.dtype)
    kv_dtype = resolve_kv_dtype(model, spec.kv_cache_dtype)
    costs = build_step_cost(
        spec.costs,
        model,
        device,
        dtype,
        kv_dtype,
        spec.tensor_parallel_size,
        folder,
        spec.data_parallel_size,
    )
    kv_bytes = kv_bytes_per_token_per_device(model, kv_dtype, spec.tensor_parallel_size)
    draft = find_draft_model(spec, model, kv_dtype, folder)
    speculation = plan_speculation(spec, draft, device, kv_dtype, costs, folder)
    lora = plan_lora(spec, model, device)
    limits = _limits(spec, model, device, dtype, kv_dtype, kv_bytes, draft, lora)
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
    hop = stage_hop(device, spec.pipeline_parallel_size, spec.tensor_parallel_size)
    weights = weight_bytes_per_device(model, dtype, spec.tensor_parallel_size)
    operations = plan_operations(spec, weights * spec.tensor_parallel_size)
    price = spec.usd_per_device_hour
    return ClientPlan(
        name=name,
        serves=spec.serves[0],
        model=model,
        device=device,
        dtype=dtype,
        kv_dtype=kv_dtype,
        tensor_parallel_size=spec.tensor_parallel_size,
        replicas=spec.autoscale.max if spec.autoscale else spec.replicas * spec.data_parallel_size,
        data_parallel_size=spec.data_parallel_size,
        limits=limits,
        batching=batching,
        order=order,
        costs=costs,
        move_seconds_per_token=_move_seconds(spec, device, kv_bytes),
        usd_per_device_hour=device.usd_per_hour if price is None else price,
        speculation=speculation,
        kv_bytes_per_token=kv_bytes_per_token(model, kv_dtype),
        layerwise=spec.kv_transfer == "layerwise",
        overflow_tokens=spec.overflow_tokens,
        pipeline_parallel_size=spec.pipeline_parallel_size,
        hop_latency_s=hop.latency_s,
        hop_seconds_per_token=_ACTIVATION_BYTES * model.hidden_size * hop.seconds_per_byte,
        kv=plan_kv_use(spec, model, kv_dtype, batching),
        quality=_quality(spec, scenario.workload.difficulty),
        operations=operations,
        lora=lora,
    )


def _quality(
    spec: LlmClientSpec, difficulty: Mapping[str, float] | None
) -> Mapping[str, float] | None:
    """Return the share of right answers for each difficulty class; `""` where there are none."""
    classes = list(difficulty or {"": 1.0})
    if spec.quality is None:
        return None
    if isinstance(spec.quality, (int, float)):
        return dict.fromkeys(classes, float(spec.quality))
    if sorted(spec.quality) != sorted(classes):
        known = ", ".join(classes) if difficulty else "none: workload.difficulty is not given"
        raise InputError(
            f"must give every difficulty class once: {', '.join(spec.quality)} (classes: {known})",
            "quality",
        )
    return {name: spec.quality[name] for name in classes}


def _check_pipeline(spec: LlmClientSpec, model: Model) -> None:
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


def _move_seconds(spec: LlmClientSpec, device: Device, kv_bytes: int) -> float:
    """Return what the KV of a token takes to host memory or back; swapping alone moves any."""
    if device.host_bandwidth_gb_per_s:
        return kv_bytes / (device.host_bandwidth_gb_per_s * 1e9)
    if spec.swap_space_gb:
        raise InfeasibleError(
            f"the bandwidth of {device.name} to its host is not known; leave this at 0, or "
            "describe the device yourself under `devices`",
            "swap_space_gb",
        )
    return 0.0


def _check_data_parallel(spec: LlmClientSpec, model: Model, device: Device) -> None:
    """Refuse groups in lock-step that have nothing to share, or what is not modelled with them."""
    groups = spec.data_parallel_size
    if groups == 1:
        return
    if not model.is_moe:
        raise InfeasibleError(
            f"{model.name} has no routed experts to share; use replicas instead",
            "data_parallel_size",
        )
    devices = groups * spec.tensor_parallel_size
    if devices > device.link_domain:
        raise InfeasibleError(
            f"{groups} groups of {spec.tensor_parallel_size} are {devices} devices; "
            f"{device.link_domain} {device.name} are linked, and experts spread further are not "
            "modelled",
            "data_parallel_size",
        )
    together = {
        "pipeline_parallel_size": spec.pipeline_parallel_size > 1,
        "speculative_config": spec.speculative_config is not None,
        "kv_tiers": bool(spec.kv_tiers),
        "batching": spec.batching == "vllm",
    }
    for field, used in together.items():
        if used:
            raise InfeasibleError("not modelled together with data_parallel_size", field)


def _limits(  # noqa: PLR0913, PLR0917 - what shares the memory of a device
    spec: LlmClientSpec,
    model: Model,
    device: Device,
    dtype: str,
    kv_dtype: str,
    kv_bytes: int,
    draft: DraftModel | None,
    lora: LoraPlan | None,
) -> EngineLimits:
    groups = plan_groups(spec, model)
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
            spec.data_parallel_size,
            groups,
        )
        if draft is not None:
            blocks = draft.blocks_beside(blocks, kv_bytes, spec.block_size)
        if lora is not None:
            blocks = lora.blocks_beside(blocks, kv_bytes * spec.block_size)
    usable = blocks - 1  # vLLM keeps one as the null block
    capacity = usable * spec.block_size
    if groups is not None:
        capacity = longest_context(groups, usable, spec)
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
        kv_groups=groups,
        window_blocks=window_blocks(groups, spec, longest) if groups else 0,
        **draft_limits(spec.speculative_config),
    )
