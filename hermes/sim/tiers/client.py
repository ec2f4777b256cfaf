"""How a client uses tiers: what its spec says, checked."""

from __future__ import annotations

from collections.abc import Sequence

from hermes.catalog import Model
from hermes.costs.memory import kv_bytes_per_token
from hermes.errors import InfeasibleError, InputError
from hermes.scenario.clients import LlmClientSpec
from hermes.scenario.recall import RecallSpec
from hermes.sim.batching import BatchingPolicy
from hermes.sim.tiers.plan import KvUse

__all__ = ["check_hit_rates", "plan_kv_use"]


def plan_kv_use(
    spec: LlmClientSpec, model: Model, kv_dtype: str, batching: type[BatchingPolicy]
) -> KvUse | None:
    """Return how a client uses tiers; None where it uses none.

    Raises:
        InputError: what goes with no tiers, or not with how they are used.
    """
    if not spec.kv_tiers:
        return None
    _check(spec, batching)
    return KvUse(
        tiers=spec.kv_tiers,
        fetch=spec.kv_fetch,
        load=spec.kv_load,
        write_back=spec.kv_write_back,
        block_size=spec.block_size,
        token_bytes=kv_bytes_per_token(model, kv_dtype),
        layers=model.num_hidden_layers,
        content=f"{model.name}/{kv_dtype}/{spec.block_size}",
    )


def _check(spec: LlmClientSpec, batching: type[BatchingPolicy]) -> None:
    twice = [name for name in spec.kv_tiers if spec.kv_tiers.count(name) > 1]
    if twice:
        raise InputError(f"tier {twice[0]!r} is listed twice", "kv_tiers")
    if spec.serves == ("decode",):
        raise InfeasibleError(
            "a decode client gets its KV from a prefill client; list tiers there", "kv_tiers"
        )
    if not batching.knows_tiers:
        raise InfeasibleError(
            f"batching {spec.batching!r} decides alone what is admitted, and knows no tiers; use "
            "'chunked'",
            "kv_tiers",
        )
    if spec.speculative_config is not None:
        raise InfeasibleError("not modelled together with speculative_config", "kv_tiers")
    if spec.kv_write_back == "evict" and not spec.enable_prefix_caching:
        raise InfeasibleError(
            "'evict' writes what the prefix cache gives up, and enable_prefix_caching is off",
            "kv_write_back",
        )
    if spec.kv_load == "layerwise":
        _check_layerwise(spec)


def _check_layerwise(spec: LlmClientSpec) -> None:
    if spec.pipeline_parallel_size > 1:
        raise InfeasibleError(
            "layer by layer is not modelled with pipeline_parallel_size above 1", "kv_load"
        )
    if spec.serves == ("prefill",) and spec.kv_transfer == "layerwise":
        raise InfeasibleError(
            "not modelled together with kv_transfer: layerwise; let one of them be 'whole'",
            "kv_load",
        )
    if not spec.scheduler_reserve_full_isl:
        raise InfeasibleError(
            "layer by layer needs room for whole prompts: leave scheduler_reserve_full_isl on",
            "kv_load",
        )


def check_hit_rates(spec: RecallSpec, tiers: Sequence[int], field: str) -> None:
    """Refuse more hit rates than some client of a stage has tiers.

    Args:
        spec: The stage's stored context.
        tiers: How many each of its clients has.
        field: The stage.

    Raises:
        InputError: there are more.
    """
    if isinstance(spec.hit_rate, tuple) and len(spec.hit_rate) > min(tiers):
        raise InputError(
            f"{len(spec.hit_rate)} hit rates, for {min(tiers)} tiers that the client lists under "
            "kv_tiers",
            f"{field}.recall.hit_rate",
        )
