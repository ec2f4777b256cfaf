"""Where the step times of a client come from: the `costs` field."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from hermes.scenario.base import NonNegative, Spec

__all__ = [
    "CalibratedCostSpec",
    "CostsSpec",
    "LinearCostSpec",
    "LinearCosts",
    "RooflineCostSpec",
    "RooflineCosts",
    "TableCostSpec",
]


class LinearCosts(Spec):
    """A step takes `step_us` + `token_us` x tokens + `context_token_ns` x context tokens."""

    step_us: NonNegative
    """Fixed time of every step, in microseconds."""
    token_us: NonNegative = 0.0
    """Time for each token scheduled in the step, in microseconds."""
    context_token_ns: NonNegative = 0.0
    """Time for each token that the scheduled sequences had already computed, in nanoseconds."""


class LinearCostSpec(Spec):
    """Step costs as a plain linear formula."""

    linear: LinearCosts
    """The coefficients."""


class RooflineCosts(Spec):
    """The roofline, with the time of the serving engine around it."""

    engine: Literal["vllm", "vllm-sync", "sglang", "trtllm", "none"] = "vllm"
    """Whose overheads steps and requests have, where they are not given here; `vllm-sync` is vLLM
    without asynchronous scheduling, the default before 0.14."""
    step_overhead_us: NonNegative | None = None
    """Time of the host in every step, in microseconds, that computation does not hide."""
    request_overhead_ms: NonNegative | None = None
    """Time of the front end for every request, in milliseconds: tokenizing, passing on."""
    expert_parallel: bool = False
    """Whether whole experts are dealt to the devices of a replica, not slices of each."""


class RooflineCostSpec(Spec):
    """Step costs from the roofline."""

    roofline: RooflineCosts
    """What is around it."""


class TableCostSpec(RooflineCosts):
    """Step costs from measured operators or steps; the roofline continues them."""

    table: Annotated[str, Field(min_length=1)]
    """A file or a folder of measurements; relative paths start at the scenario file. Or a system of
    the installed package aiconfigurator-core, such as `aiconfigurator:h100_sxm`, or a device whose
    table ships with Hermes, such as `hermes:h200-sxm`."""


class CalibratedCostSpec(Spec):
    """Step costs from constants that `hermes calibrate` fitted."""

    calibrated: Annotated[str, Field(min_length=1)]
    """The file it wrote; a relative path starts at the scenario file."""


_KEYS = ("linear", "roofline", "table", "calibrated")


def _costs_tag(value: Any) -> str | None:
    if isinstance(value, str):
        return "name"
    for key in _KEYS:
        if (isinstance(value, dict) and key in value) or hasattr(value, key):
            return key
    return None


CostsSpec = Annotated[
    Annotated[Literal["roofline"], Tag("name")]
    | Annotated[LinearCostSpec, Tag("linear")]
    | Annotated[RooflineCostSpec, Tag("roofline")]
    | Annotated[TableCostSpec, Tag("table")]
    | Annotated[CalibratedCostSpec, Tag("calibrated")],
    Discriminator(
        _costs_tag,
        custom_error_type="unknown_costs",
        custom_error_message="expected roofline, {roofline: ...}, {table: PATH},"
        " {calibrated: PATH} or {linear: ...}",
    ),
]
