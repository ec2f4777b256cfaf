"""LoRA adapters of requests: which one each uses, or -1 for the base model."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hermes.errors import InputError
from hermes.scenario.lora import AdaptersSpec, ZipfPopularity
from hermes.workload.choices import choose
from hermes.workload.streams import stream
from hermes.workload.workload import Column

__all__ = ["ADAPTER", "draw_adapters", "with_adapters"]

ADAPTER = "adapter"
"""The attribute that holds a request's adapter."""


def with_adapters(
    attributes: Mapping[str, Column],
    spec: AdaptersSpec | None,
    session: Column | None,
    count: int,
    seed: int,
) -> Mapping[str, Column]:
    """Return the attributes of requests with the adapters that a scenario asks for.

    Raises:
        InputError: the trace names adapters too.
    """
    if spec is None:
        return attributes
    if ADAPTER in attributes:
        raise InputError(
            f"the trace has a column attribute.{ADAPTER} that says which adapter each request "
            "uses; leave one of the two out",
            "workload.adapters",
        )
    return {**attributes, ADAPTER: draw_adapters(spec, session, count, seed)}


def draw_adapters(spec: AdaptersSpec, session: Column | None, count: int, seed: int) -> Column:
    """Return the adapter of each request; whether it uses one is drawn apart from which."""
    exponent = spec.popularity.zipf.exponent if isinstance(spec.popularity, ZipfPopularity) else 0
    weights = [float(rank) ** -exponent for rank in range(1, spec.count + 1)]
    which = choose(weights, stream(seed, "workload", "adapters").random(count))
    uses = stream(seed, "workload", "adapters", "share").random(count) < spec.share
    column: Column = np.where(uses, which, -1).astype(np.int64)
    return column if session is None else column[_first_turns(session)]


def _first_turns(session: Column) -> Column:
    """Return, for each request, the first of its session; itself where it is of none."""
    firsts: dict[int, int] = {}
    first = [
        firsts.setdefault(number, request) if number >= 0 else request
        for request, number in enumerate(session.tolist())
    ]
    return np.array(first, np.int64)
