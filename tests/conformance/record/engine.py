"""vLLM's v1 scheduler without a model: each `schedule()` is answered with made-up tokens."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import vllm
from vllm.config import (
    CacheConfig,
    DeviceConfig,
    LoRAConfig,
    ModelConfig,
    SchedulerConfig,
    VllmConfig,
)
from vllm.config.kv_transfer import KVTransferConfig
from vllm.config.speculative import SpeculativeConfig
from vllm.lora.request import LoRARequest
from vllm.sampling_params import SamplingParams
from vllm.utils.hashing import sha256
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.kv_cache_interface import (
    FullAttentionSpec,
    KVCacheConfig,
    KVCacheGroupSpec,
    SlidingWindowSpec,
)
from vllm.v1.outputs import DraftTokenIds, KVConnectorOutput, ModelRunnerOutput
from vllm.v1.request import Request as EngineRequest
from vllm.v1.structured_output import StructuredOutputManager

from tests.conformance.recording import Case, Request

VERSION = {"name": "vllm", "version": vllm.__version__, "scheduler": "v1, synchronous"}

SCHEDULER_OPTIONS = (
    "max_num_seqs",
    "max_num_batched_tokens",
    "long_prefill_token_threshold",
    "long_prefill_token_threshold_adaptive",
    "scheduler_reserve_full_isl",
    "watermark",
    "prefill_schedule_interval",
    "policy",
    "enable_chunked_prefill",
)
OTHER_OPTIONS = (
    "block_size",
    "num_gpu_blocks_override",
    "max_model_len",
    "enable_prefix_caching",
    "num_speculative_tokens",
    "kv_role",
    "max_loras",
    "kv_groups",
)

_LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "num_hidden_layers": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 1 << 20,
    "rms_norm_eps": 1e-5,
    "torch_dtype": "bfloat16",
}
_OWN_TOKENS = 1 << 32  # token ids from here on belong to one request alone


class VllmScheduler:
    """One scheduler, its requests by number, and the tokens a model would have given."""

    def __init__(self, case: Case) -> None:
        self.case = case
        config = _config(case.options)
        block_size = case.options["block_size"]
        self._scheduler = Scheduler(
            vllm_config=config,
            kv_cache_config=_kv_cache(case.options),
            structured_output_manager=StructuredOutputManager(config),
            block_size=block_size,
        )
        init_none_hash(sha256)
        caching = case.options["enable_prefix_caching"]
        self._hasher = get_request_block_hasher(block_size, sha256) if caching else None
        self._drafts = case.options["num_speculative_tokens"]
        self._requests: dict[int, EngineRequest] = {}
        self._verified: dict[int, int] = {}
        self.cached_tokens = [0] * len(case.requests)

    @property
    def has_work(self) -> bool:
        return self._scheduler.has_unfinished_requests()

    def add(self, number: int) -> None:
        request = self.case.requests[number]
        self._requests[number] = engine_request = EngineRequest(
            request_id=_name(number),
            prompt_token_ids=_prompt(number, request, self.case.options["block_size"]),
            sampling_params=SamplingParams(max_tokens=request.output_tokens, ignore_eos=True),
            pooling_params=None,
            arrival_time=request.arrival_ns,
            priority=request.priority,
            block_hasher=self._hasher,
            lora_request=_adapter(request.adapter),
        )
        self._verified[number] = 0
        self._scheduler.add_request(engine_request)

    def schedule(self) -> tuple[dict[int, int], int, tuple[int, ...]]:
        """Return the tokens by request, the tokens those had computed before, and who lost out."""
        before = {n: request.num_preemptions for n, request in self._requests.items()}
        self._output = self._scheduler.schedule()
        tokens = {int(name): n for name, n in self._output.num_scheduled_tokens.items()}
        for new in self._output.scheduled_new_reqs:
            number = int(new.req_id)
            if self._requests[number].num_preemptions == 0:
                self.cached_tokens[number] = new.num_computed_tokens
        context = sum(self._requests[n].num_computed_tokens - given for n, given in tokens.items())
        preempted = sorted(
            n for n, request in self._requests.items() if request.num_preemptions > before[n]
        )
        return tokens, context, tuple(preempted)

    def transfers_begun(self) -> list[int]:
        """Return the requests whose KV transfer has begun since this was last asked."""
        connector = self._scheduler.connector
        if connector is None:
            return []
        begun, connector.begun = connector.begun, []
        return [int(name) for name in begun]

    def complete(self, transferred: list[int]) -> tuple[list[int], list[int]]:
        """Answer the latest schedule; return who sampled in it, and who ended.

        Args:
            transferred: Requests whose KV transfer ended before the step did.
        """
        names = list(self._output.num_scheduled_tokens)
        sampled = [self._sampled_tokens(int(name)) for name in names]
        self._scheduler.update_from_output(
            self._output,
            ModelRunnerOutput(
                req_ids=names,
                req_id_to_index={name: i for i, name in enumerate(names)},
                sampled_token_ids=sampled,
                kv_connector_output=self._transfers(transferred),
            ),
        )
        if self._drafts:
            drafts = [[0] * self._drafts for _ in names]
            self._scheduler.update_draft_token_ids(DraftTokenIds(names, drafts))
        gave = [int(name) for name, tokens in zip(names, sampled, strict=True) if tokens]
        ended = [n for n in gave if self._requests[n].is_finished()]
        for number in ended:
            del self._requests[number]
        return gave, ended

    def _transfers(self, transferred: list[int]) -> KVConnectorOutput | None:
        if not transferred:
            return None
        names = {_name(number) for number in transferred}
        if self.case.options["kv_role"] == "kv_producer":
            return KVConnectorOutput(finished_sending=names)
        return KVConnectorOutput(finished_recving=names)

    def _sampled_tokens(self, number: int) -> list[int]:
        request = self._requests[number]
        if request.is_prefill_chunk:
            return []
        drafted = self._output.scheduled_spec_decode_tokens.get(_name(number), [])
        accepted = 0
        if drafted and drafted[0] >= 0:  # -1 is padding, which no model accepts
            plan = self.case.requests[number].accepted_drafts or (0,)
            accepted = min(len(drafted), plan[self._verified[number] % len(plan)])
            self._verified[number] += 1
        first = request.num_output_tokens
        return [_own_token(number, -1 - first - i) for i in range(1 + accepted)]


def _name(number: int) -> str:
    return f"{number:06d}"  # vLLM breaks the last ties by name


def _adapter(adapter: int) -> LoRARequest | None:
    if adapter < 0:
        return None
    return LoRARequest(f"adapter-{adapter}", adapter + 1, f"adapter-{adapter}")


def _own_token(number: int, position: int) -> int:
    return _OWN_TOKENS * (number + 1) + position % (1 << 31)


def _prompt(number: int, request: Request, block_size: int) -> list[int]:
    """Return token ids: all those of a block are its id; what has none is the request's own."""
    shared = [block for block in request.blocks for _ in range(block_size)]
    shared = shared[: request.prompt_tokens]
    return shared + [_own_token(number, i) for i in range(len(shared), request.prompt_tokens)]


def _config(options: dict[str, Any]) -> VllmConfig:
    unknown = set(options) - set(SCHEDULER_OPTIONS) - set(OTHER_OPTIONS)
    assert not unknown, f"options that the recorder does not pass on: {sorted(unknown)}"
    drafts = options["num_speculative_tokens"]
    with TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(_LLAMA))
        model = ModelConfig(
            model=folder,
            skip_tokenizer_init=True,
            dtype="bfloat16",
            max_model_len=options["max_model_len"],
            seed=0,
        )
    cache = CacheConfig(
        block_size=options["block_size"], enable_prefix_caching=options["enable_prefix_caching"]
    )
    cache.num_gpu_blocks = options["num_gpu_blocks_override"]
    config = VllmConfig(
        model_config=model,
        cache_config=cache,
        device_config=DeviceConfig("cpu"),
        scheduler_config=SchedulerConfig(
            max_model_len=options["max_model_len"],
            is_encoder_decoder=False,
            async_scheduling=False,
            **{name: options[name] for name in SCHEDULER_OPTIONS if name in options},
        ),
        speculative_config=SpeculativeConfig(
            method="ngram", num_speculative_tokens=drafts, prompt_lookup_max=2
        )
        if drafts
        else None,
        kv_transfer_config=KVTransferConfig(
            kv_connector="TimedConnector",
            kv_connector_module_path="tests.conformance.record.connector",
            kv_role=options["kv_role"],
        )
        if options["kv_role"]
        else None,
        lora_config=LoRAConfig(max_loras=options["max_loras"]) if "max_loras" in options else None,
    )
    for name in SCHEDULER_OPTIONS:  # vLLM must not have corrected what the recording says
        if name in options:
            assert getattr(config.scheduler_config, name) == options[name], name
    assert config.cache_config.block_size == options["block_size"]
    return config


def _kv_cache(options: dict[str, Any]) -> KVCacheConfig:
    size: dict[str, Any] = {
        "block_size": options["block_size"],
        "num_kv_heads": 1,
        "head_size": 1,
        "dtype": torch.float32,
    }
    full, sliding, window = options.get("kv_groups") or (1, 0, 0)
    specs = [SlidingWindowSpec(**size, sliding_window=window)] * sliding
    specs += [FullAttentionSpec(**size)] * full
    return KVCacheConfig(
        num_blocks=options["num_gpu_blocks_override"],
        kv_cache_tensors=[],
        kv_cache_groups=[
            KVCacheGroupSpec([f"layer{number}"], spec) for number, spec in enumerate(specs)
        ],
        **(
            {"prefix_cache_retention_interval": CacheConfig().prefix_cache_retention_interval}
            if sliding
            else {}
        ),
    )
