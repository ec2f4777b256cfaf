"""From what a user writes to a policy that can be made: name found, options checked."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hermes.errors import InputError, UnknownNameError
from hermes.scenario.routing import RoutingBlock
from hermes.scenario.units import seconds_to_ticks
from hermes.sim.routing.base import ROUTING, RoutingPolicy

__all__ = ["PolicyPlan", "plan_policy"]

_CALL = "choose(self, replicas, now, request)"
_GIVEN = ("self", "rng", "interval")


@dataclass(frozen=True, slots=True)
class PolicyPlan:
    """A policy to be made; call it with the router's random stream.

    Attributes:
        policy: Its class.
        interval: Ticks for which it believes what it reads; 0: not at all.
        options: Its options by name.
    """

    policy: type[RoutingPolicy]
    interval: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, rng: np.random.Generator) -> RoutingPolicy:
        """Return a new policy."""
        if self.interval:
            return self.policy(rng, self.interval, **self.options)
        return self.policy(rng, **self.options)


def plan_policy(spec: str | RoutingBlock, where: str) -> PolicyPlan:
    """Return the plan of a policy.

    Args:
        spec: What the user wrote.
        where: The field it stands in.

    Raises:
        UnknownNameError: no policy, or no option of it, has this name.
        InputError: an import path leads to nothing that could route, or an option is refused.
    """
    block = RoutingBlock(policy=spec) if isinstance(spec, str) else spec
    name, options, interval_ms = block.named()
    field_ = where if isinstance(spec, str) or block.policy is None else f"{where}.policy"
    found = ROUTING.find(name, field_)
    if ":" in name:
        _check_class(found, name, field_)
    _check_options(found, name, options, where)
    plan = PolicyPlan(found, seconds_to_ticks(interval_ms / 1000), options)
    if plan.interval and "interval" not in _parameters(found) and not _takes_any(found):
        raise InputError(
            f"routing policy {name!r} takes no `interval`, so its signals cannot be old",
            f"{where}.signal_interval_ms",
        )
    if block.policy is not None:
        _try(plan, name, where)
    return plan


def _check_class(found: type[Any], name: str, where: str) -> None:
    """Refuse a class that could not route."""
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    if missing:
        message = f"routing policy {name!r} lacks {', '.join(missing)}; it needs {_CALL}"
        raise InputError(message, where)
    choose = getattr(found, "choose", None)
    if not callable(choose):
        raise InputError(f"routing policy {name!r} has no method {_CALL}", where)
    try:
        inspect.signature(choose).bind(None, (), 0, None)
    except TypeError as error:
        message = f"routing policy {name!r} cannot be called as {_CALL}: {error}"
        raise InputError(message, where) from None


def _check_options(found: type[Any], name: str, options: Mapping[str, Any], where: str) -> None:
    allowed = [parameter for parameter in _parameters(found) if parameter not in _GIVEN]
    for option in options:
        if option not in allowed and not _takes_any(found):
            field_ = f"{where}.options.{option}"
            if not allowed:
                raise InputError(f"routing policy {name!r} has no options", field_)
            raise UnknownNameError.among("option", option, allowed, field_)


def _parameters(found: type[Any]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(found.__init__).parameters


def _takes_any(found: type[Any]) -> bool:
    kinds = [parameter.kind for parameter in _parameters(found).values()]
    return inspect.Parameter.VAR_KEYWORD in kinds


def _try(plan: PolicyPlan, name: str, where: str) -> None:
    """Make the policy once, so that what its class refuses is refused before time starts."""
    try:
        plan(np.random.default_rng(0))
    except InputError as error:
        raise error.inside(f"{where}.options") from None
    except (TypeError, ValueError, KeyError) as error:
        message = f"routing policy {name!r} cannot be made: {type(error).__name__}: {error}"
        raise InputError(message, f"{where}.options") from None
