"""Adapters as a client has them: sizes known, memory counted, what is not modelled refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hermes.catalog import Device, Model
from hermes.costs.lora import LoraCost, adapter_bytes, lora_modules
from hermes.errors import InfeasibleError, InputError
from hermes.scenario.clients import LlmClientSpec
from hermes.scenario.costs import LinearCostSpec
from hermes.scenario.units import seconds_to_ticks
from hermes.sim.lora.memory import Loads
from hermes.sim.queues import QUEUE_ORDERS, QueueOrder

if TYPE_CHECKING:
    from hermes.sim.llm_client import ClientPlan
    from hermes.sim.pipelines.plan import PipelinePlan

__all__ = ["LoraPlan", "plan_lora", "require_alike"]

_BATCHING = ("chunked", "continuous", "mixed", "static")


@dataclass(frozen=True, slots=True)
class LoraPlan:
    """What a replica needs to know of adapters.

    Attributes:
        max_loras: Slots, and most adapters among the running sequences.
        max_cpu_loras: Most in host memory.
        slot_bytes: Of one slot on one device.
        device_bytes: Of one adapter on one device.
        whole_bytes: Of one adapter as it is stored.
        host_ticks: To copy one from host memory to the devices.
        store_ticks: To read one from the store.
        cost: Of computing with them; None where the step costs are three numbers.
    """

    max_loras: int
    max_cpu_loras: int
    slot_bytes: int
    device_bytes: int
    whole_bytes: int
    host_ticks: int
    store_ticks: int = 0
    cost: LoraCost | None = None

    @property
    def about(self) -> str:
        """What is kept where, for people."""
        return (
            f"{self.max_loras} slots of {self.slot_bytes / 1e6:.1f} MB on each device, "
            f"{self.max_cpu_loras} adapters in host memory"
        )

    def load_ticks(self, loads: Loads) -> int:
        """Return how long a step waits for its adapters."""
        return loads.to_device * self.host_ticks + loads.from_store * self.store_ticks

    def step_ticks(self, tokens: int, adapters: int) -> int:
        """Return what adapters add to a step of so many tokens with so many of them."""
        return 0 if self.cost is None else seconds_to_ticks(self.cost.seconds(tokens, adapters))

    def blocks_beside(self, blocks: int, block_bytes: int) -> int:
        """Return how many KV blocks are left beside the slots.

        Raises:
            InfeasibleError: The slots leave none.
        """
        slots = self.max_loras * self.slot_bytes
        left = (blocks * block_bytes - slots) // block_bytes
        if left < 2:  # one is the null block
            raise InfeasibleError(
                f"{self.max_loras} slots of {self.slot_bytes / 1e9:.3f} GB need "
                f"{slots / 1e9:.2f} GB of each device, and {blocks * block_bytes / 1e9:.2f} GB are "
                "free for them and for the KV cache; use fewer, or a smaller max_lora_rank",
                "max_loras",
            )
        return left


def plan_lora(spec: LlmClientSpec, model: Model, device: Device) -> LoraPlan | None:
    """Return what a client's adapters need; None where it serves none.

    Raises:
        InfeasibleError: what is not modelled together with adapters, or not for the model.
    """
    if not spec.enable_lora:
        return None
    _check(spec)
    if not device.host_bandwidth_gb_per_s:
        raise InfeasibleError(
            f"the bandwidth of {device.name} to its host, over which adapters come, is not known; "
            "describe the device yourself under `devices`",
            "enable_lora",
        )
    rank = spec.lora_rank or spec.max_lora_rank
    modules = lora_modules(model, spec.lora_target_modules, spec.tensor_parallel_size)
    whole = adapter_bytes(lora_modules(model, spec.lora_target_modules, 1), rank)
    on_device = adapter_bytes(modules, rank)
    store = spec.lora_store_gb_per_s
    linear = isinstance(spec.costs, LinearCostSpec)
    return LoraPlan(
        max_loras=spec.max_loras,
        max_cpu_loras=spec.max_cpu_loras or spec.max_loras,
        slot_bytes=adapter_bytes(modules, spec.max_lora_rank),
        device_bytes=on_device,
        whole_bytes=whole,
        host_ticks=seconds_to_ticks(on_device / (device.host_bandwidth_gb_per_s * 1e9)),
        store_ticks=0 if store is None else seconds_to_ticks(whole / (store * 1e9)),
        cost=None if linear else LoraCost(modules, spec.max_lora_rank, device),
    )


def _check(spec: LlmClientSpec) -> None:
    """Refuse what is not modelled together with adapters."""
    together = {
        "serves": spec.serves != ("generate",),
        "speculative_config": spec.speculative_config is not None,
        "kv_tiers": bool(spec.kv_tiers),
        "data_parallel_size": spec.data_parallel_size > 1,
        "pipeline_parallel_size": spec.pipeline_parallel_size > 1,
        "prefill_schedule_interval": spec.prefill_schedule_interval > 1,
    }
    for field, used in together.items():
        if used:
            raise InfeasibleError("not modelled together with enable_lora", field)
    if spec.batching not in _BATCHING:
        raise InfeasibleError(
            f"batching {spec.batching!r} knows no adapters (allowed with enable_lora: "
            f"{', '.join(_BATCHING)})",
            "batching",
        )
    order = QUEUE_ORDERS.find(spec.scheduling_policy, "scheduling_policy")
    if order.queue is not QueueOrder.queue:
        raise InfeasibleError(
            f"scheduling_policy {spec.scheduling_policy!r} has a queue of its own, which knows no "
            "adapters; use fcfs or one that ranks requests",
            "scheduling_policy",
        )


def require_alike(pipelines: Iterable[PipelinePlan], clients: Sequence[ClientPlan]) -> None:
    """Check that those who share the calls of a stage all serve adapters, or none of them does.

    Raises:
        InputError: naming the stage.
    """
    serving = {client.name: client.lora is not None for client in clients}
    for pipeline in pipelines:
        for call in pipeline.calls:
            names = call.route.all_clients
            without = [name for name in names if not serving[name]]
            if without and len(without) < len(names):
                raise InputError(
                    f"its calls go to {', '.join(names)}, of which {', '.join(without)} serve no "
                    "adapters: give all of them enable_lora, or none",
                    call.where,
                )
