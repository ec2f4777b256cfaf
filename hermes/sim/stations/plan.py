"""Clients that serve no language model, as parts of a deployment: looked up and checked.

Nothing here simulates, and nothing imports SimPy.
"""

from __future__ import annotations

from dataclasses import dataclass

from hermes.catalog import Device, Model, find_device, find_model
from hermes.catalog.indexes import find_index
from hermes.costs.encoder import EncoderCost, check_encoder_fits
from hermes.costs.retrieval import SearchCost, check_index_fits
from hermes.errors import InfeasibleError, InputError
from hermes.scenario.clients import (
    EncoderClientSpec,
    LlmClientSpec,
    SearchClientSpec,
    ToolClientSpec,
    WorkerClientSpec,
)
from hermes.scenario.scenario import Scenario
from hermes.sim.looking import looked_up
from hermes.sim.stations.choosing import DEFAULT_CHOICE, STATION_ROUTING, StationPolicy

__all__ = ["EncoderPlan", "SearchPlan", "StationPlan", "ToolPlan", "WorkerPlan", "plan_station"]


@dataclass(frozen=True, slots=True)
class StationPlan:
    """A pool of stations, with everything about them known.

    Attributes:
        name: Of the client.
        serves: Kinds of stages.
        device: What each is built of; None for what is outside.
        replicas: Stations in the pool.
        devices_per_replica: Devices of one.
        on: The client whose devices these are; empty for devices of their own.
        usd_per_device_hour: Price of a device; None where it is not known.
        label: Where its times come from, for reports.
        origin: How well its times are known, one of `hermes.costs.provenance.ORIGINS`.
        policy: Chooses among the stations.
    """

    name: str
    serves: tuple[str, ...]
    device: Device | None
    replicas: int
    devices_per_replica: int
    on: str
    usd_per_device_hour: float | None
    label: str
    origin: str
    policy: type[StationPolicy]

    @property
    def devices(self) -> int:
        """Devices of all stations, those of another client not counted."""
        return 0 if self.on or self.device is None else self.replicas * self.devices_per_replica


@dataclass(frozen=True, slots=True)
class EncoderPlan(StationPlan):
    """Encoders; a batch is of one model."""

    models: tuple[Model, ...]
    costs: tuple[EncoderCost, ...]
    most_texts: int
    most_tokens: int


@dataclass(frozen=True, slots=True)
class SearchPlan(StationPlan):
    """Vector search."""

    cost: SearchCost
    most_queries: int


@dataclass(frozen=True, slots=True)
class WorkerPlan(StationPlan):
    """CPU workers."""

    workers: int


@dataclass(frozen=True, slots=True)
class ToolPlan(StationPlan):
    """A service outside."""

    concurrency: int


OtherClientSpec = EncoderClientSpec | SearchClientSpec | WorkerClientSpec | ToolClientSpec


def plan_station(name: str, spec: OtherClientSpec, scenario: Scenario) -> StationPlan:
    """Return a client with everything about it known.

    Raises:
        InputError: naming the field of the client that cannot be.
    """
    policy = _policy(name, scenario)
    try:
        match spec:
            case ToolClientSpec():
                return ToolPlan(
                    name=name,
                    serves=spec.serves,
                    device=None,
                    replicas=1,
                    devices_per_replica=0,
                    on="",
                    usd_per_device_hour=None,
                    label="",
                    origin="given",
                    policy=policy,
                    concurrency=spec.max_concurrency,
                )
            case EncoderClientSpec():
                return _encoder(name, spec, scenario, policy)
            case SearchClientSpec():
                return _search(name, spec, scenario, policy)
            case WorkerClientSpec():
                device, on, price = _hardware(name, spec, scenario)
                return WorkerPlan(
                    name,
                    spec.serves,
                    device,
                    spec.replicas,
                    1,
                    on,
                    price,
                    "",
                    "given",
                    policy,
                    spec.workers,
                )
    except InputError as error:
        raise error.inside(f"clients.{name}") from None


def _policy(name: str, scenario: Scenario) -> type[StationPolicy]:
    wanted, field = scenario.routing.get(name, DEFAULT_CHOICE), f"routing.{name}"
    if not isinstance(wanted, str):
        raise InputError(
            "the policies of a client that serves no language model have no options: give a name "
            f"({', '.join(STATION_ROUTING)})",
            field,
        )
    return STATION_ROUTING.find(wanted, field)


def _hardware(
    name: str, spec: EncoderClientSpec | SearchClientSpec | WorkerClientSpec, scenario: Scenario
) -> tuple[Device, str, float | None]:
    """Return the device, whose it is, and its price."""
    device = looked_up("device", lambda: find_device(spec.device, scenario.devices))
    price = spec.usd_per_device_hour
    if price is None:
        price = device.usd_per_hour
    if spec.on is None:
        return device, "", price
    host = scenario.clients[spec.on]
    if isinstance(host, (LlmClientSpec, ToolClientSpec)) or spec.on == name:
        raise InputError(
            f"client {spec.on!r} has no devices to share: an encoder, search or worker client does",
            "on",
        )
    if host.on is not None:
        raise InputError(f"client {spec.on!r} is on {host.on!r} itself: name that", "on")
    if (host.device, host.replicas) != (spec.device, spec.replicas):
        raise InputError(
            f"client {spec.on!r} has {host.replicas} x {host.device}, this one says "
            f"{spec.replicas} x {spec.device}; they must be the same",
            "on",
        )
    return device, spec.on, price


def _encoder(
    name: str, spec: EncoderClientSpec, scenario: Scenario, policy: type[StationPolicy]
) -> EncoderPlan:
    device, on, price = _hardware(name, spec, scenario)
    size = spec.tensor_parallel_size
    if on and size > 1:
        raise InfeasibleError("devices of another client serve one at a time", "on")
    models, costs = [], []
    reserved = 0
    for number, model_name in enumerate(spec.models):
        field = f"models.{number}"
        model = looked_up(field, lambda wanted=model_name: find_model(wanted))  # type: ignore[misc]
        try:
            left = check_encoder_fits(
                model, device, spec.dtype, size, spec.max_num_batched_tokens, reserved
            )
        except InfeasibleError as error:
            raise InfeasibleError(error.message, field) from None
        reserved = device.memory_bytes - left
        models.append(model)
        costs.append(EncoderCost(model, device, spec.dtype, size))
    return EncoderPlan(
        name,
        spec.serves,
        device,
        spec.replicas,
        size,
        on,
        price,
        costs[0].label,
        "roofline" if all(cost.calibrated for cost in costs) else "uncalibrated",
        policy,
        models=tuple(models),
        costs=tuple(costs),
        most_texts=spec.max_num_seqs,
        most_tokens=spec.max_num_batched_tokens,
    )


def _search(
    name: str, spec: SearchClientSpec, scenario: Scenario, policy: type[StationPolicy]
) -> SearchPlan:
    device, on, price = _hardware(name, spec, scenario)
    index = looked_up("index", lambda: find_index(spec.index, f"the index of {name}"))
    check_index_fits(index, device)
    cost = SearchCost(index, device)
    return SearchPlan(
        name,
        spec.serves,
        device,
        spec.replicas,
        1,
        on,
        price,
        cost.label,
        "given" if cost.calibrated else "uncalibrated",
        policy,
        cost=cost,
        most_queries=spec.max_batch_size,
    )
