"""How a client is operated, in ticks and bytes.

Nothing here simulates, and nothing imports SimPy.
"""

from __future__ import annotations

from dataclasses import dataclass

from hermes.errors import InputError
from hermes.scenario.clients import LlmClientSpec
from hermes.scenario.operations import (
    AutoscaleSpec,
    FailuresSpec,
    RetrySpec,
    ScaleSignal,
    StartUpSpec,
)
from hermes.scenario.units import seconds_to_ticks

__all__ = [
    "AutoscalePlan",
    "FailurePlan",
    "OperationsPlan",
    "OutagePlan",
    "StartUpPlan",
    "UpgradePlan",
    "plan_operations",
]


@dataclass(frozen=True, slots=True)
class OutagePlan:
    """One planned outage of a replica; see `hermes.scenario.operations.OutageSpec`."""

    replica: int
    at: int
    down: int | None
    notice: int | None


@dataclass(frozen=True, slots=True)
class UpgradePlan:
    """A rolling upgrade; see `hermes.scenario.operations.UpgradeSpec`."""

    at: int
    down: int
    notice: int | None


@dataclass(frozen=True, slots=True)
class FailurePlan:
    """How replicas fail; see `hermes.scenario.operations.FailuresSpec`."""

    mtbf_s: float | None
    mttr_s: float
    notice: int
    outages: tuple[OutagePlan, ...]
    upgrade: UpgradePlan | None
    released: bool


@dataclass(frozen=True, slots=True)
class StartUpPlan:
    """What a replica needs before it takes requests.

    Attributes:
        ticks: Time for everything but the weights.
        weight_bytes: To be loaded by a replica; 0: none.
        source: Where they come from: `host` or `store`.
        store_bytes_per_second: What the store gives all replicas together; None: no limit.
    """

    ticks: int = 0
    weight_bytes: int = 0
    source: str = "none"
    store_bytes_per_second: float | None = None


@dataclass(frozen=True, slots=True)
class AutoscalePlan:
    """How many replicas there are; see `hermes.scenario.operations.AutoscaleSpec`."""

    least: int
    most: int
    signal: ScaleSignal
    target: float
    interval: int
    cooldown: int


@dataclass(frozen=True, slots=True)
class OperationsPlan:
    """How a client is operated.

    Attributes:
        replicas: That are there at the beginning.
        max_queue: Most requests that wait at a replica; None: no limit.
        max_pool_queue: Most that wait at all of them; None: no limit.
        timeout: Ticks a request waits at most; None: until it is served.
        retries: Times a request may begin again.
        resume: Whether it goes on behind the tokens it has got.
        failures: How replicas fail; None: never.
        start_up: What they need before they take requests.
        autoscale: How many there are; None: always as many.
    """

    replicas: int
    max_queue: int | None = None
    max_pool_queue: int | None = None
    timeout: int | None = None
    retries: int = 1
    resume: bool = False
    failures: FailurePlan | None = None
    start_up: StartUpPlan = StartUpPlan()
    autoscale: AutoscalePlan | None = None

    @property
    def changes(self) -> bool:
        """Whether replicas come and go."""
        return self.failures is not None or self.autoscale is not None


def plan_operations(spec: LlmClientSpec, weight_bytes: int) -> OperationsPlan | None:
    """Return how a client is operated; None where it says nothing of it.

    Args:
        spec: The client.
        weight_bytes: Of a replica's devices together.

    Raises:
        InputError: what is said contradicts itself.
    """
    given = (
        spec.max_queue,
        spec.max_pool_queue,
        spec.queue_timeout_ms,
        spec.failures,
        spec.autoscale,
    )
    _check(spec)
    if all(value is None for value in given):
        return None
    retry = spec.retry or RetrySpec()
    timeout = spec.queue_timeout_ms
    return OperationsPlan(
        replicas=spec.replicas,
        max_queue=spec.max_queue,
        max_pool_queue=spec.max_pool_queue,
        timeout=None if timeout is None else seconds_to_ticks(timeout / 1000),
        retries=retry.max,
        resume=retry.resume,
        failures=None if spec.failures is None else _failures(spec.failures),
        start_up=_start_up(spec.start_up or StartUpSpec(), weight_bytes),
        autoscale=None if spec.autoscale is None else _autoscale(spec.autoscale),
    )


def _check(spec: LlmClientSpec) -> None:
    """Refuse what could never have an effect, or contradicts something else."""
    if spec.serves[0] == "decode":
        for field in ("max_queue", "max_pool_queue", "queue_timeout_ms", "retry"):
            if getattr(spec, field) is not None:
                raise InputError(
                    "is for clients that requests come to first; give it to the prefill client",
                    field,
                )
    changes = spec.failures is not None or spec.autoscale is not None
    if changes:
        _check_changes(spec)
    elif spec.start_up is not None:
        raise InputError(
            "no replica ever starts up: there are no failures or autoscale", "start_up"
        )
    if spec.retry is not None and spec.failures is None and spec.serves[0] == "generate":
        raise InputError("no replica is ever lost: there are no failures", "retry")
    if spec.batching == "vllm" and spec.queue_timeout_ms is not None:
        raise InputError("nothing can be taken away from batching 'vllm'", "queue_timeout_ms")


def _check_changes(spec: LlmClientSpec) -> None:
    """Refuse what replicas that come and go cannot be, and outages of some that are not there."""
    if spec.batching == "vllm":
        raise InputError("vLLM's scheduler cannot be stopped by failures or autoscale", "batching")
    if spec.data_parallel_size > 1:
        raise InputError("not modelled together with failures or autoscale", "data_parallel_size")
    scale = spec.autoscale
    if scale is not None and not scale.min <= spec.replicas <= scale.max:
        raise InputError(
            f"{spec.replicas} at the beginning are not within autoscale's {scale.min} to "
            f"{scale.max}",
            "replicas",
        )
    most = scale.max if scale is not None else spec.replicas
    for number, outage in enumerate(spec.failures.schedule if spec.failures else ()):
        if outage.replica >= most:
            raise InputError(
                f"there is no replica {outage.replica} (allowed: 0 to {most - 1})",
                f"failures.schedule.{number}.replica",
            )


def _failures(spec: FailuresSpec) -> FailurePlan:
    upgrade = spec.upgrade
    return FailurePlan(
        mtbf_s=spec.mtbf_s,
        mttr_s=spec.mttr_s or 0.0,
        notice=seconds_to_ticks(spec.notice_s),
        outages=tuple(
            OutagePlan(
                outage.replica,
                seconds_to_ticks(outage.at_s),
                _ticks(outage.down_s),
                _ticks(outage.notice_s),
            )
            for outage in spec.schedule
        ),
        upgrade=None
        if upgrade is None
        else UpgradePlan(
            seconds_to_ticks(upgrade.at_s),
            seconds_to_ticks(upgrade.down_s),
            _ticks(upgrade.notice_s),
        ),
        released=spec.released,
    )


def _start_up(spec: StartUpSpec, weight_bytes: int) -> StartUpPlan:
    gb_per_s = spec.store_gb_per_s
    return StartUpPlan(
        ticks=seconds_to_ticks(spec.startup_s),
        weight_bytes=0 if spec.weights == "none" else weight_bytes,
        source=spec.weights,
        store_bytes_per_second=None if gb_per_s is None else gb_per_s * 1e9,
    )


def _autoscale(spec: AutoscaleSpec) -> AutoscalePlan:
    return AutoscalePlan(
        least=spec.min,
        most=spec.max,
        signal=spec.signal,
        target=spec.target,
        interval=seconds_to_ticks(spec.interval_s),
        cooldown=seconds_to_ticks(spec.cooldown_s),
    )


def _ticks(seconds: float | None) -> int | None:
    return None if seconds is None else seconds_to_ticks(seconds)
