"""Routing: how one of a client's replicas is chosen for a request."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from hermes.scenario.arrivals import MAX_DURATION_S
from hermes.scenario.base import NonNegative, PositiveInt, Spec
from hermes.scenario.choice import name_or

__all__ = ["RoutingBlock", "RoutingSpec", "Signal"]

Signal = Literal["requests", "kv_blocks", "pending_tokens", "decodes", "drain"]
"""What counts as a replica's load: requests queued or running; KV blocks used or needed by the
queue; prompt tokens to compute; requests that decode; the time to be through with all of it, as the
replica's cost model sees it."""
Cache = Literal["replica", "router"]
"""Whose word counts for what is cached: the replicas' own, or the router's records of what it sent
where. Default: the replicas'; with `signal_interval_ms`, the router's."""
Difference = Annotated[int, Field(ge=0)]
Ratio = Annotated[float, Field(ge=1)]
Share = Annotated[float, Field(gt=0, lt=1)]


class LeastLoadedOptions(Spec):
    """Options of `least_loaded`."""

    signal: Signal = "kv_blocks"
    """What counts as load."""


class PowerOfTwoOptions(Spec):
    """Options of `power_of_two`."""

    signal: Signal = "requests"
    """What counts as load."""


class ShortestDrainOptions(Spec):
    """Options of `shortest_drain`."""

    output_tokens: PositiveInt = 256
    """Tokens that a request is expected to have left, queued or running; a router does not know."""


class HeavyLightOptions(Spec):
    """Options of `heavy_light`."""

    by: Literal["prompt", "output", "either"] = "prompt"
    """What makes a request heavy. Outputs are known to no real router."""
    prompt_tokens: PositiveInt = 2048
    """Longest prompt of a light request."""
    output_tokens: PositiveInt = 512
    """Longest output of a light request."""
    heavy_share: Share = 0.5
    """Share of the replicas that serve heavy requests; at least one does, and one does not."""
    signal: Signal = "kv_blocks"
    """What counts as load among replicas of one kind."""


class PrefixAffinityOptions(Spec):
    """Options of `prefix_affinity`; names and defaults are those of SGLang's and vLLM's router."""

    cache_threshold: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Share of a prompt that must be cached somewhere for the cache to decide."""
    balance_abs_threshold: Difference = 64
    """Requests that the busiest replica may have more than the idlest ..."""
    balance_rel_threshold: Ratio = 1.5
    """... and times as many; beyond both, the request goes to the idlest."""
    signal: Signal = "requests"
    """What counts as load where no prefix decides, and among equal prefixes."""
    cache: Cache | None = None
    """Whose word counts: `replica` or `router`; default: `replica`, with old signals `router`."""


class AdapterAffinityOptions(Spec):
    """Options of `adapter_affinity`."""

    balance_abs_threshold: Difference = 64
    """Requests that the busiest replica may have more than the idlest ..."""
    balance_rel_threshold: Ratio = 1.5
    """... and times as many; beyond both, the request goes to the idlest."""
    signal: Signal = "requests"
    """What counts as load among replicas that suit the adapter equally well."""


class KvOverlapOptions(Spec):
    """Options of `kv_overlap`."""

    overlap_weight: NonNegative = 1.0
    """What a prompt block to compute counts, beside a KV block in use; 0: only load counts."""
    cache: Cache | None = None
    """Whose word counts: `replica` or `router`; default: `replica`, with old signals `router`."""


class WeightedScoresOptions(Spec):
    """Options of `weighted_scores`; the defaults are those of llm-d."""

    prefix: NonNegative = 3.0
    """Weight of the share of the prompt that is cached."""
    queue: NonNegative = 2.0
    """Weight of a short queue."""
    kv_cache: NonNegative = 2.0
    """Weight of the share of the KV cache that is free."""
    cache: Cache | None = None
    """Whose word counts: `replica` or `router`; default: `replica`, with old signals `router`."""


class SessionStickyOptions(Spec):
    """Options of `session_sticky`."""

    balance_abs_threshold: Difference = 64
    """Requests that a session's replica may have more than the idlest ..."""
    balance_rel_threshold: Ratio = 1.5
    """... and times as many; beyond both, the session moves."""
    signal: Signal = "kv_blocks"
    """What counts as load for requests that have no replica yet."""


class ConsistentHashOptions(Spec):
    """Options of `consistent_hash`."""

    key: Literal["session", "prefix"] = "session"
    """What is hashed."""
    prefix_tokens: PositiveInt = 256
    """Tokens of the prompt's head that count, rounded down to whole KV blocks, at least one."""
    load_factor: Annotated[float, Field(gt=1)] | None = 1.25
    """Requests a replica may have before it is passed over, in terms of the mean; null: any."""
    virtual_nodes: Annotated[int, Field(ge=1, le=10_000)] = 128
    """Places of each replica on the ring."""


class RoutingBlock(Spec):
    """A policy with options: one of the policies as a key, or any policy's name under `policy`."""

    policy: (
        Annotated[str, Field(min_length=1, examples=["round_robin", "my.module:Mine"])] | None
    ) = None
    """Name of a policy, or import path of the user's own: `package.module:Class`."""
    options: dict[str, Any] = {}
    """Of a policy named under `policy`: keyword arguments of its class."""
    signal_interval_ms: Annotated[float, Field(gt=0, le=MAX_DURATION_S * 1000)] | None = None
    """The router reads a replica's load only when it has a request to place and what it knows is
    this old; default: it reads it for each request."""
    least_loaded: LeastLoadedOptions | None = None
    """The replica with the least load."""
    power_of_two: PowerOfTwoOptions | None = None
    """Of two random replicas the one with less load."""
    shortest_drain: ShortestDrainOptions | None = None
    """The replica that would be done first with all it has and the request."""
    heavy_light: HeavyLightOptions | None = None
    """Some of the replicas serve long requests, the others short ones."""
    prefix_affinity: PrefixAffinityOptions | None = None
    """The replica with the longest cached prefix, while the load is in balance."""
    adapter_affinity: AdapterAffinityOptions | None = None
    """The replica that has the request's LoRA adapter, while the load is in balance."""
    kv_overlap: KvOverlapOptions | None = None
    """The least sum of prompt blocks to compute and KV blocks in use."""
    weighted_scores: WeightedScoresOptions | None = None
    """The highest weighted sum of cached prefix, short queue and free KV cache."""
    session_sticky: SessionStickyOptions | None = None
    """The replica that served the session before."""
    consistent_hash: ConsistentHashOptions | None = None
    """The replica that a hash of the session or the prefix falls to."""

    @model_validator(mode="after")
    def _names_one_policy(self) -> Self:
        given = [name for name in ("policy", *_WITH_OPTIONS) if getattr(self, name) is not None]
        if len(given) != 1:
            told = " and ".join(f"'{name}'" for name in given) or "none"
            raise PydanticCustomError(
                "one_policy",
                "a routing block has one policy, `policy` or one of {allowed}; given: {told}",
                {"allowed": ", ".join(_WITH_OPTIONS), "told": told},
            )
        if self.options and self.policy is None:
            raise PydanticCustomError(
                "misplaced_options",
                "`options` go with `policy`; those of '{name}' stand under its own key",
                {"name": given[0]},
            )
        return self

    def named(self) -> tuple[str, dict[str, Any], float]:
        """Return the policy's name or import path, its options, and the signals' age in ms."""
        interval = self.signal_interval_ms or 0.0
        if self.policy is not None:
            return self.policy, self.options, interval
        for name in _WITH_OPTIONS:
            options: Spec | None = getattr(self, name)
            if options is not None:
                return name, options.model_dump(), interval
        raise AssertionError("validated to name a policy")


_WITH_OPTIONS = tuple(
    name
    for name in RoutingBlock.model_fields
    if name not in {"policy", "options", "signal_interval_ms"}
)

RoutingSpec = Annotated[str | RoutingBlock, name_or("a routing policy", RoutingBlock)]
"""A policy by name, by import path, or with options."""
