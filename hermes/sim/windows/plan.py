"""Whether the KV cache of a client forgets what windows leave behind, and how long requests may be.

As in vLLM, it does unless `disable_hybrid_kv_cache_manager` says otherwise; with what is not
modelled beside it, all layers keep whole contexts, unless it was asked for.
"""

from __future__ import annotations

from hermes.catalog import Model
from hermes.costs.kv_groups import KvGroups, kv_groups
from hermes.errors import InfeasibleError
from hermes.scenario.clients import LlmClientSpec
from hermes.sim.limits import most_window_blocks

__all__ = ["longest_context", "plan_groups", "window_blocks"]

_UNBOUNDED = 1 << 30  # tokens; where nothing but windows is kept, any context fits
_IN_CHUNKS = ("chunked", "vllm")  # what computes a prompt within the token budget, step by step
_FIELD = "disable_hybrid_kv_cache_manager"


def plan_groups(spec: LlmClientSpec, model: Model) -> KvGroups | None:
    """Return the groups of layers of a client's KV cache; None where all keep whole contexts.

    Raises:
        InfeasibleError: windows were asked for, of a model without any or with what is not
            modelled beside them.
    """
    groups, asked = kv_groups(model), spec.disable_hybrid_kv_cache_manager is False
    if spec.disable_hybrid_kv_cache_manager or (groups is None and not asked):
        return None
    if groups is None:
        raise InfeasibleError(
            f"false, but {model.name} has no layers whose window slides; leave it out", _FIELD
        )
    beside = {
        "serves": spec.serves != ("generate",),
        "speculative_config": spec.speculative_config is not None,
        "kv_tiers": bool(spec.kv_tiers),
        "swap_space_gb": spec.swap_space_gb > 0,
        "enable_lora": spec.enable_lora,
    }
    for field, used in beside.items():
        if used and asked:
            raise InfeasibleError(f"false is not modelled together with {field}", _FIELD)
        if used:
            return None
    return groups


def window_blocks(groups: KvGroups, spec: LlmClientSpec, max_model_len: int) -> int:
    """Return the most blocks that a sequence holds in one group of layers with a window.

    Where prompts are not cut into chunks, that is the whole prompt.
    """
    in_flight = max_model_len
    if spec.batching in _IN_CHUNKS:
        in_flight = spec.max_num_batched_tokens * spec.pipeline_parallel_size
    return most_window_blocks(groups.window, in_flight, max_model_len, spec.block_size)


def longest_context(groups: KvGroups, num_blocks: int, spec: LlmClientSpec) -> int:
    """Return the longest context whose blocks fit, however a prompt is cut into chunks."""

    def blocks(tokens: int) -> int:
        columns = -(-tokens // spec.block_size)
        windows = min(columns, window_blocks(groups, spec, tokens))
        return groups.full * columns + groups.sliding * windows

    if blocks(_UNBOUNDED) <= num_blocks:
        return _UNBOUNDED
    fits, not_fits = 0, _UNBOUNDED
    while not_fits - fits > 1:
        middle = (fits + not_fits) // 2
        if blocks(middle) <= num_blocks:
            fits = middle
        else:
            not_fits = middle
    return fits
