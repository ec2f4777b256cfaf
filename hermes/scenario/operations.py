"""How a client is operated: what it takes in, how it fails and comes back, how it grows."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from hermes.scenario.base import NonNegative, Positive, PositiveInt, Spec

__all__ = [
    "AutoscaleSpec",
    "FailuresSpec",
    "OutageSpec",
    "RetrySpec",
    "ScaleSignal",
    "StartUpSpec",
    "UpgradeSpec",
]

ScaleSignal = Literal["requests", "queue", "kv", "utilization"]
_LONGEST_S = 1e8
_Seconds = Annotated[float, Field(ge=0, le=_LONGEST_S)]
_Span = Annotated[float, Field(gt=0, le=_LONGEST_S)]


class OutageSpec(Spec):
    """One planned outage of one replica."""

    replica: Annotated[int, Field(ge=0)]
    """Its number in the client, from 0."""
    at_s: _Seconds
    """When it begins."""
    down_s: _Seconds | None
    """How long the replica is down, before it starts up again; null: it never comes back."""
    notice_s: _Seconds | None = 0.0
    """Warning it gives: for so long the replica takes no new requests and goes on with those it
    has; what is left then is lost. 0: it crashes. null: it waits until the replica is empty."""


class UpgradeSpec(Spec):
    """A rolling upgrade: the replicas go down one after the other, each when it is empty."""

    at_s: _Seconds
    """When it begins."""
    down_s: _Seconds
    """How long each replica is down, before it starts up again."""
    notice_s: _Seconds | None = None
    """After how long a replica that is not empty goes down all the same; default: never."""


class FailuresSpec(Spec):
    """How replicas fail: at random, by a schedule, or both."""

    mtbf_s: _Span | None = None
    """Mean time between failures: the mean of the exponential time that a replica is up."""
    mttr_s: _Seconds | None = None
    """Mean time to repair: the mean of the exponential time that it is down, before it starts up
    again."""
    notice_s: _Seconds = 0.0
    """Warning that random failures give, as the loss of a spot instance does; 0: none."""
    schedule: tuple[OutageSpec, ...] = Field(default=(), strict=False)
    """Planned outages."""
    upgrade: UpgradeSpec | None = None
    """A rolling upgrade."""
    released: bool = False
    """Whether devices of a replica that is down are given back and not paid, as those of a spot
    instance are."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.mtbf_s is None) != (self.mttr_s is None):
            raise PydanticCustomError(
                "half_a_failure", "`mtbf_s` and `mttr_s` go together: give both, or neither"
            )
        if self.mtbf_s is None and not self.schedule and self.upgrade is None:
            raise PydanticCustomError(
                "no_failure",
                "say how replicas fail: `mtbf_s` and `mttr_s`, `schedule` or `upgrade`",
            )
        if self.mtbf_s is None and self.notice_s:
            raise PydanticCustomError(
                "no_random_failure",
                "`notice_s` is that of random failures, which need `mtbf_s` and `mttr_s`; an outage"
                " of the schedule has its own",
            )
        return self


class RetrySpec(Spec):
    """What becomes of requests whose replica is lost."""

    max: Annotated[int, Field(ge=0)] = 1
    """Times a request may begin again on another replica; then it fails."""
    resume: bool = False
    """Whether it goes on behind the tokens it has got, whose KV is computed anew with its prompt,
    instead of sampling all of them again."""


class StartUpSpec(Spec):
    """What a replica needs before it takes requests, when it comes back or is added."""

    startup_s: _Seconds = 0.0
    """Getting the machine, the process and its kernels ready."""
    weights: Literal["none", "host", "store"] = "none"
    """Where the model's weights come from, after that: `host` memory of its node, over the links
    to it; a `store` behind the network's core; `none`: they are there."""
    store_gb_per_s: Positive | None = None
    """Bandwidth of that store, which the client's replicas share; default: the network's."""

    @model_validator(mode="after")
    def _store_is_used(self) -> Self:
        if self.store_gb_per_s is not None and self.weights != "store":
            raise PydanticCustomError(
                "no_store", "`store_gb_per_s` is for `weights: store`; there is no store here"
            )
        return self


class AutoscaleSpec(Spec):
    """How many replicas there are, by their load."""

    min: PositiveInt = 1
    """Fewest replicas."""
    max: PositiveInt
    """Most replicas."""
    signal: ScaleSignal = "requests"
    """Load of a replica: `requests` queued or running, those in the `queue` only, share of its `kv`
    blocks in use or awaited, or `utilization`: share of the last interval that it computed."""
    target: Positive
    """Load of a replica that is aimed at: there should be as many replicas as the load of all,
    divided by this."""
    interval_s: _Span = 15.0
    """Time between two looks at the load."""
    cooldown_s: NonNegative = 300.0
    """How long nothing is taken away after replicas were added or taken away."""

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.min > self.max:
            raise PydanticCustomError(
                "wrong_bounds",
                "min ({min}) is more than max ({max})",
                {"min": self.min, "max": self.max},
            )
        if self.signal in {"kv", "utilization"} and self.target > 1:
            raise PydanticCustomError(
                "wrong_target",
                "the {signal} of a replica is a share: a target of {target} is never reached",
                {"signal": self.signal, "target": self.target},
            )
        return self
