"""The installed vLLM's own v1 scheduler, without a model: it is told what a step sampled.

vLLM is imported when the first scheduler is made, and never before. Its scheduler is Python and
needs no GPU; of a model it wants to know the longest context only.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hermes.sim.limits import EngineLimits
from hermes.sim.sequence import Sequence

__all__ = ["Decision", "VllmScheduler", "is_vllm_installed", "vllm_version"]

_LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "num_hidden_layers": 2,
    "vocab_size": 1000,
    "rms_norm_eps": 1e-5,
    "torch_dtype": "bfloat16",
}


def is_vllm_installed() -> bool:
    """Whether there is a vLLM to import."""
    return find_spec("vllm") is not None


def vllm_version() -> str:
    """Return the version of the vLLM there is to import."""
    return version("vllm")


@dataclass(frozen=True, slots=True)
class Decision:
    """What one `schedule()` decided, by request number.

    Attributes:
        tokens: Tokens of each request that runs, in the scheduler's order.
        computed: Tokens each of them had computed before, those found in the cache included.
        preempted: Requests that lost their blocks.
    """

    tokens: dict[int, int]
    computed: dict[int, int]
    preempted: tuple[int, ...]


class VllmScheduler:
    """One scheduler and its requests.

    Args:
        limits: Bounds of its batches and its cache.
        policy: vLLM's name of the scheduling policy.
    """

    def __init__(self, limits: EngineLimits, policy: str) -> None:
        os.environ.setdefault("VLLM_TARGET_DEVICE", "cpu")  # which platform vLLM takes itself for
        structured = import_module("vllm.v1.structured_output")
        utils = import_module("vllm.v1.core.kv_cache_utils")
        config = _config(limits, policy)
        self._scheduler: Any = import_module("vllm.v1.core.sched.scheduler").Scheduler(
            vllm_config=config,
            kv_cache_config=_kv_cache(limits),
            structured_output_manager=structured.StructuredOutputManager(config),
            block_size=limits.block_size,
        )
        self._scheduler.kv_cache_manager.watermark_blocks = limits.watermark_blocks
        self._hasher: Any = None
        if limits.enable_prefix_caching:
            sha256 = import_module("vllm.utils.hashing").sha256
            utils.init_none_hash(sha256)
            self._hasher = utils.get_request_block_hasher(limits.block_size, sha256)
        self._block_size = limits.block_size
        self._requests: dict[int, Any] = {}
        self._output: Any = None  # of the latest schedule, not yet answered

    @property
    def free_blocks(self) -> int:
        """Blocks that can be taken."""
        return int(self._scheduler.kv_cache_manager.block_pool.get_num_free_blocks())

    def add(self, sequence: Sequence) -> None:
        """Queue a request."""
        parameters = import_module("vllm.sampling_params").SamplingParams(
            max_tokens=sequence.output_tokens, ignore_eos=True
        )
        request = import_module("vllm.v1.request").Request(
            request_id=_name(sequence.request_id),
            prompt_token_ids=self._prompt(sequence),
            sampling_params=parameters,
            pooling_params=None,
            arrival_time=sequence.arrival,
            priority=sequence.priority,
            block_hasher=self._hasher,
        )
        self._requests[sequence.request_id] = request
        self._scheduler.add_request(request)

    def schedule(self) -> Decision:
        """Decide the next step; `answer` must follow when it has ended."""
        before = {number: r.num_preemptions for number, r in self._requests.items()}
        self._output = self._scheduler.schedule()
        tokens = {int(name): n for name, n in self._output.num_scheduled_tokens.items()}
        return Decision(
            tokens,
            {
                number: self._requests[number].num_computed_tokens - n
                for number, n in tokens.items()
            },
            tuple(n for n, r in self._requests.items() if r.num_preemptions > before[n]),
        )

    def answer(self) -> None:
        """Tell the scheduler that the step it decided has ended."""
        output, self._output = self._output, None
        if output is None:
            return
        names = list(output.num_scheduled_tokens)
        sampled = []
        for name in names:
            request = self._requests[int(name)]
            own = [] if request.is_prefill_chunk else [_own_token(int(name), request.num_tokens)]
            sampled.append(own)
        runner_output = import_module("vllm.v1.outputs").ModelRunnerOutput(
            req_ids=names,
            req_id_to_index={name: index for index, name in enumerate(names)},
            sampled_token_ids=sampled,
        )
        self._scheduler.update_from_output(output, runner_output)
        for name in names:
            if self._requests[int(name)].is_finished():
                del self._requests[int(name)]

    def _prompt(self, sequence: Sequence) -> list[int]:
        """Return token ids that are equal where the keys of two prompts' blocks are equal."""
        shared = [_token(key) for key in sequence.prefix for _ in range(self._block_size)]
        own = range(len(shared), sequence.prompt_tokens)
        return shared + [_own_token(sequence.request_id, position) for position in own]


def _token(key: Any) -> int:
    """Return a block's key as a token id; only whole numbers are known to be stable."""
    if not isinstance(key, int) or key < 0:
        raise TypeError(f"a prefix key must be a whole number, 0 or more, not {key!r}")
    return key


def _name(number: int) -> str:
    return f"{number:012d}"  # vLLM settles the last ties by name


def _own_token(number: int, position: int) -> int:
    """Return a token that no other request and no shared block has."""
    return -((number + 1) << 32) - position


def _config(limits: EngineLimits, policy: str) -> Any:
    config = import_module("vllm.config")
    with TemporaryDirectory() as folder:
        llama = _LLAMA | {"max_position_embeddings": limits.max_model_len}
        Path(folder, "config.json").write_text(json.dumps(llama), encoding="utf-8")
        model = config.ModelConfig(
            model=folder,
            skip_tokenizer_init=True,
            dtype="bfloat16",
            max_model_len=limits.max_model_len,
            seed=0,
        )
    cache = config.CacheConfig(
        block_size=limits.block_size, enable_prefix_caching=limits.enable_prefix_caching
    )
    cache.num_gpu_blocks = limits.num_blocks + 1  # the null block
    scheduler = config.SchedulerConfig(
        max_model_len=limits.max_model_len,
        is_encoder_decoder=False,
        async_scheduling=False,
        max_num_seqs=limits.max_num_seqs,
        max_num_batched_tokens=limits.max_num_batched_tokens,
        long_prefill_token_threshold=limits.long_prefill_token_threshold,
        prefill_schedule_interval=limits.prefill_schedule_interval,
        scheduler_reserve_full_isl=limits.reserve_full_prompt,
        policy=policy,
    )
    return config.VllmConfig(
        model_config=model,
        cache_config=cache,
        scheduler_config=scheduler,
        device_config=config.DeviceConfig("cpu"),
    )


def _kv_cache(limits: EngineLimits) -> Any:
    """Return one group of layers, or as many of each kind as the model has, windows first."""
    interface = import_module("vllm.v1.kv_cache_interface")
    size: dict[str, Any] = {
        "block_size": limits.block_size,
        "num_kv_heads": 1,
        "head_size": 1,
        "dtype": import_module("torch").float32,
    }
    groups = limits.kv_groups
    specs = [interface.FullAttentionSpec(**size)] * (groups.full if groups else 1)
    options: dict[str, Any] = {}
    if groups:
        window = interface.SlidingWindowSpec(**size, sliding_window=groups.window)
        specs = [window] * groups.sliding + specs
        options["prefix_cache_retention_interval"] = 0  # the default of vLLM's option
    return interface.KVCacheConfig(
        num_blocks=limits.num_blocks + 1,
        kv_cache_tensors=[],
        kv_cache_groups=[
            interface.KVCacheGroupSpec([f"layer{number}"], spec)
            for number, spec in enumerate(specs)
        ],
        **options,
    )
