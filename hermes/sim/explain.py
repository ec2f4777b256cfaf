"""What would run, in words and numbers, without running it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hermes.catalog import device_names, find_device, find_model, model_names
from hermes.catalog.indexes import find_index, index_names
from hermes.catalog.media import find_medium, medium_names
from hermes.costs.kv_groups import KvGroups
from hermes.costs.memory import kv_bytes_per_token, weight_bytes_per_device
from hermes.metrics import METRICS
from hermes.scenario.scenario import Scenario
from hermes.scenario.units import TICKS_PER_SECOND
from hermes.sim.batching import BATCHING
from hermes.sim.deployment import ClientPlan, Deployment, resolve
from hermes.sim.fits import require_fit
from hermes.sim.limits import EngineLimits
from hermes.sim.pipelines.plan import CallPlan, PipelinePlan
from hermes.sim.queues import QUEUE_ORDERS
from hermes.sim.registry import Registry
from hermes.sim.routing import ROUTING
from hermes.sim.stations.plan import EncoderPlan, SearchPlan, StationPlan, ToolPlan, WorkerPlan
from hermes.sim.tiers.eviction import EVICTION
from hermes.sim.tiers.plan import KvUse
from hermes.workload import build_workload

__all__ = ["explain", "list_known"]


def explain(scenario: Scenario, folder: Path | None = None) -> dict[str, Any]:
    """Return what a scenario would run: its traffic, its clients, their memory and price.

    Raises:
        InputError: as `hermes.sim.simulate` would.
    """
    deployment = resolve(scenario, folder)
    workload = build_workload(scenario.workload, tuple(scenario.pipelines), scenario.seed, folder)
    require_fit(scenario, deployment, workload)
    seconds = int(workload.arrival_ticks[-1]) / TICKS_PER_SECOND
    return {
        "scenario": scenario.name,
        "workload": {
            "source": workload.source,
            "requests": len(workload),
            "arrivals over (s)": round(seconds, 1),
            "mean prompt tokens": round(float(workload.prompt_tokens.mean()), 1),
            "mean output tokens": round(float(workload.output_tokens.mean()), 1),
        },
        "clients": {client.name: _client_facts(client) for client in deployment.clients},
        **({"other clients": _stations(deployment)} if deployment.stations else {}),
        "pipelines": {name: _stages(pipeline) for name, pipeline in deployment.pipelines.items()},
        "devices": deployment.devices,
        "USD per hour": deployment.usd_per_hour,
        "cost model": deployment.cost_model,
    }


def _stages(pipeline: PipelinePlan) -> str:
    """Return the stages of a pipeline in order, each with who serves it."""
    return " > ".join(
        f"{leaf.name} ({', '.join(leaf.route.all_clients)})"
        if isinstance(leaf, CallPlan)
        else f"{leaf.name} ({leaf.client or 'outside'})"
        for leaf in pipeline.leaves()
    )


def _stations(deployment: Deployment) -> dict[str, Any]:
    return {
        station.name: {
            "serves": ", ".join(station.serves),
            "device": station.device.name if station.device else "outside",
            "devices": f"those of {station.on}" if station.on else station.devices,
            **_held(station),
            **({"costs": station.label} if station.label else {}),
            "USD per device hour": station.usd_per_device_hour,
        }
        for station in deployment.stations
    }


def _held(station: StationPlan) -> dict[str, Any]:
    match station:
        case EncoderPlan():
            return {"models": ", ".join(model.name for model in station.models)}
        case SearchPlan():
            index = station.cost.index
            return {"index": f"{index.name}, {index.size_bytes / 1e9:.1f} GB"}
        case WorkerPlan():
            return {"workers": station.workers}
        case ToolPlan():
            return {"calls at once": station.concurrency}
        case _:
            return {}


def _client_facts(client: ClientPlan) -> dict[str, Any]:
    limits = client.limits
    weights = weight_bytes_per_device(
        client.model, client.dtype, client.tensor_parallel_size, client.data_parallel_size
    )
    return {
        "model": client.model.name,
        "device": client.device.name,
        "devices": _shape(client),
        "dtype": f"weights {client.dtype}, KV cache {client.kv_dtype}",
        "weights per device (GB)": round(weights / 1e9, 2),
        "KV cache (tokens per replica)": _cached_tokens(limits),
        **_windows(limits.kv_groups),
        "KV bytes per token": kv_bytes_per_token(client.model, client.kv_dtype),
        "longest request (tokens)": limits.max_model_len,
        "sequences at once": limits.max_num_seqs,
        "tokens in a step": limits.max_num_batched_tokens,
        **({"speculation": client.speculation.about} if client.speculation else {}),
        **({"KV tiers": _tiers(client.kv)} if client.kv else {}),
        **({"LoRA adapters": client.lora.about} if client.lora else {}),
        "costs": client.costs.label,
        "USD per device hour": client.usd_per_device_hour,
    }


def _cached_tokens(limits: EngineLimits) -> int:
    """Return the tokens that all layers can hold, those with a window nothing behind it."""
    groups = limits.kv_groups
    return limits.num_blocks // (groups.total if groups else 1) * limits.block_size


def _windows(groups: KvGroups | None) -> dict[str, str]:
    if groups is None:
        return {}
    return {
        "KV groups of layers": f"{groups.full} full, {groups.sliding} with a window of "
        f"{groups.window} tokens; {groups.layers} layers each"
    }


def _tiers(use: KvUse) -> str:
    overlap = ", layer by layer" if use.load == "layerwise" else ""
    return f"{', '.join(use.tiers)}; fetch {use.fetch}{overlap}, write back: {use.write_back}"


def _shape(client: ClientPlan) -> str:
    stages, groups = client.pipeline_parallel_size, client.data_parallel_size
    pipeline = f" x PP {stages}" if stages > 1 else ""
    data = f" x DP {groups}" if groups > 1 else ""
    replicas = client.replicas // groups
    return f"{replicas} replicas{data} x TP {client.tensor_parallel_size}{pipeline}"


def list_known(what: str) -> list[dict[str, Any]]:
    """Return the devices, models, indexes, media, metrics or policies to be named, one a row."""
    if what == "devices":
        return [_device_row(name) for name in device_names()]
    if what == "models":
        return [_model_row(name) for name in model_names()]
    if what == "indexes":
        return [_index_row(name) for name in index_names()]
    if what == "media":
        return [_medium_row(name) for name in medium_names()]
    if what == "metrics":
        return [
            {"name": m.name, "unit": m.unit, "better": m.better, "meaning": m.meaning}
            for m in METRICS.values()
        ]
    kinds: dict[str, Registry[Any]] = {
        "batching": BATCHING,
        "scheduling_policy": QUEUE_ORDERS,
        "routing": ROUTING,
        "eviction": EVICTION,
    }
    return [
        {"kind": kind, "name": name, "meaning": _first_line(registry.find(name, kind))}
        for kind, registry in kinds.items()
        for name in registry
    ]


def _first_line(entry: type[Any]) -> str:
    return (entry.__doc__ or "").strip().splitlines()[0]


def _medium_row(name: str) -> dict[str, Any]:
    medium = find_medium(name)
    return {
        "name": medium.name,
        "kind": medium.kind,
        "bandwidth_gb_per_s": medium.bandwidth_gb_per_s,
        "latency_us": medium.latency_us,
        "confidence": medium.confidence,
    }


def _device_row(name: str) -> dict[str, Any]:
    device = find_device(name)
    return {
        "name": device.name,
        "vendor": device.vendor,
        "kind": device.kind,
        "memory_gb": device.memory_gb,
        "memory_bandwidth_gb_per_s": device.memory_bandwidth_gb_per_s,
        "bf16_tflops": device.peak_tflops.get("bf16"),
        "fp8_tflops": device.peak_tflops.get("fp8"),
        "link_bandwidth_gb_per_s": device.link_bandwidth_gb_per_s,
        "usd_per_hour": device.usd_per_hour,
    }


def _model_row(name: str) -> dict[str, Any]:
    model = find_model(name)
    return {
        "name": model.name,
        "parameters_b": round(model.total_parameters / 1e9, 2),
        "active_b": round(model.active_parameters / 1e9, 2),
        "layers": model.num_hidden_layers,
        "kv_bytes_per_token": kv_bytes_per_token(model, "auto"),
        "weights": model.weight_dtype,
        "max_context": model.max_position_embeddings,
    }


def _index_row(name: str) -> dict[str, Any]:
    index = find_index(name)
    return {
        "name": index.name,
        "kind": index.kind,
        "dimension": index.dimension,
        "vectors": index.vectors,
        "n_centroids": index.n_centroids or None,
        "n_probe": index.n_probe or None,
        "sub_quantizers": index.sub_quantizers or None,
        "rerank": index.rerank or None,
        "m": index.m or None,
        "ef_search": index.ef_search or None,
        "size_gb": round(index.size_bytes / 1e9, 2),
    }
