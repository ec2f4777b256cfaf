"""Clients that serve language models, configured with the names vLLM uses."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hermes.scenario.base import NonNegative, Positive, PositiveInt
from hermes.scenario.costs import CostsSpec
from hermes.scenario.lora import LoraFields
from hermes.scenario.operations import AutoscaleSpec, FailuresSpec, RetrySpec, StartUpSpec
from hermes.scenario.speculation import SpeculativeSpec
from hermes.scenario.tiers import KvFetch, KvLoad, KvWriteBack

__all__ = ["Dtype", "KVCacheDtype", "LlmClientSpec"]

Dtype = Literal["auto", "bfloat16", "float16", "fp8", "int8", "int4", "mxfp4"]
Share = Annotated[float, Field(ge=0, le=1)]
KVCacheDtype = Literal["auto", "bfloat16", "float16", "fp8", "int8"]


class LlmClientSpec(LoraFields):
    """A pool of identical replicas, each one engine instance with its devices."""

    serves: Annotated[
        tuple[Literal["generate", "prefill", "decode"], ...],
        Field(min_length=1, max_length=1, strict=False),
    ] = ("generate",)
    """What this client serves: `[generate]` whole requests, or one of their phases: `[prefill]`
    hands their KV over the network to a client that serves `[decode]`."""
    kv_transfer: Literal["whole", "layerwise"] = "whole"
    """Of a prefill client: send the KV when the prompt is done, or layer by layer during the step
    that finishes it."""
    overflow_tokens: PositiveInt | None = None
    """Of a prefill client: once each of its replicas has more prompt tokens pending than this, an
    idle decode replica takes requests whole. Of a decode client: once each of its replicas has more
    context tokens than this, an idle prefill replica keeps the requests it prefilled. Default: the
    roles never change."""
    model: str
    """Hugging Face id, its last part in any case, or the path of a `config.json`."""
    device: str
    """A device of the catalog, or one described under `devices` in this file."""
    replicas: PositiveInt = 1
    """Engine instances in the pool."""
    tensor_parallel_size: PositiveInt = 1
    """Devices a replica spreads every layer over."""
    pipeline_parallel_size: PositiveInt = 1
    """Groups of devices a replica spreads its layers over, one stage each; as many batches are in
    flight. With `chunked` or `mixed` batching."""
    data_parallel_size: PositiveInt = 1
    """Of a mixture of experts: groups of devices, each with sequences, a KV cache and a queue of
    its own, that share the routed experts and so step together: every step waits for the slowest.
    A replica is all of them, and a routing policy chooses among groups."""
    batching: str = "chunked"
    """How a replica forms its batches: `chunked`, `continuous`, `mixed` or `static`."""
    scheduling_policy: str = "fcfs"
    """Which request is next, and which gives way when KV blocks run out: `fcfs`, `priority`,
    `shortest_prompt`, `least_work_left`, `edf`, or `fair` to the request classes."""
    max_num_seqs: PositiveInt = 128
    """Most sequences a replica runs at once."""
    max_num_batched_tokens: PositiveInt = 2048
    """Most tokens in one step; with `chunked` batching, the chunk size."""
    long_prefill_token_threshold: Annotated[int, Field(ge=0)] = 0
    """Most prompt tokens of one request in a step while others are there; 0: no cap."""
    prefill_schedule_interval: PositiveInt = 1
    """With `chunked` batching: while requests decode, compute prompts in one of so many steps only,
    unless more requests wait than such a step admits."""
    scheduler_reserve_full_isl: bool = True
    """Admit a request only when its whole prompt fits the KV cache, not just its first chunk."""
    max_model_len: PositiveInt | None = None
    """Longest context a request may reach; default: what the model allows."""
    block_size: PositiveInt = 16
    """Tokens in one block of the KV cache."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.92
    """Share of device memory the engine may use for weights, activations and KV cache."""
    num_gpu_blocks_override: Annotated[int, Field(ge=2)] | None = None
    """KV blocks of a replica, instead of those computed from its memory. As in vLLM, one of them
    is the null block and holds no tokens."""
    watermark: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of KV blocks kept free when a waiting request is admitted beside running ones."""
    enable_prefix_caching: bool = True
    """Keep freed KV blocks until they are reused, and start requests from a prefix found there."""
    disable_hybrid_kv_cache_manager: bool | None = None
    """Of a model with sliding windows, let all layers keep the KV of whole contexts (`true`), or
    those with a window only what it reaches (`false`). Default: the latter where it is modelled."""
    swap_space_gb: NonNegative = 0.0
    """Host memory of each device for the KV of preempted requests; what does not fit there is
    recomputed."""
    kv_tiers: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Tiers of the topology that prompts' KV is fetched from and written to, nearest first."""
    kv_fetch: KvFetch = "always"
    """Of KV found in a tier: fetch it `always` or `never`, or when that is `cheaper` than to
    compute it again, by estimates of both."""
    kv_load: KvLoad = "whole"
    """A request waits for its KV while others run, and then computes the rest of its prompt; or it
    begins at once, and its first step waits for the KV layer by layer."""
    kv_write_back: KvWriteBack = "finish"
    """Write KV blocks to all tiers that lack them when a request is done (`finish`), or to the
    nearest when device memory gives them up (`evict`), or `never`."""
    dtype: Dtype = "auto"
    """Number format of the weights and of the matrix products; `auto`: as published."""
    kv_cache_dtype: KVCacheDtype = "auto"
    """Number format of the KV cache; `auto`: that of the activations."""
    costs: CostsSpec = "roofline"
    """Where step times come from: `roofline`, `{roofline: {...}}`, `{table: PATH}`,
    `{calibrated: PATH}` or `{linear: {...}}`."""
    speculative_config: SpeculativeSpec | None = None
    """Speculative decoding; default: none."""
    quality: Share | Annotated[dict[str, Share], Field(min_length=1)] | None = None
    """Share of requests its model answers right: one number, or one for each difficulty class of
    `workload.difficulty`. Default: not known, and no quality is reported."""
    usd_per_device_hour: Positive | None = None
    """Price of one device for one hour; default: the catalog's."""
    grid_g_co2_per_kwh: NonNegative | None = None
    """Carbon intensity of the power where it stands; default: the scenario's."""
    max_queue: Annotated[int, Field(ge=0)] | None = None
    """Most requests that wait at a replica; one more is rejected. Default: no limit."""
    max_pool_queue: Annotated[int, Field(ge=0)] | None = None
    """Most requests that wait at all of its replicas together, likewise."""
    queue_timeout_ms: Positive | None = None
    """How long a request waits at most; one that has not begun by then is dropped. Default: until
    it is served."""
    failures: FailuresSpec | None = None
    """How replicas fail and come back; default: they never do."""
    retry: RetrySpec | None = None
    """What becomes of requests whose replica is lost; default: each begins again once."""
    start_up: StartUpSpec | None = None
    """What a replica that comes back or is added needs first; default: nothing."""
    autoscale: AutoscaleSpec | None = None
    """Replicas by their load; `replicas` are there at the beginning. Default: always as many."""
