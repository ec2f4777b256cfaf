"""The `pruner` of a study as a user writes it: which short runs, and who survives them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError
from pydantic_core import PydanticCustomError

from hermes.errors import did_you_mean
from hermes.scenario.base import Spec

__all__ = ["PRUNERS", "PrunerOptions", "PrunerSpec", "WrittenPruner", "read_pruner"]

PRUNERS = ("hyperband", "median", "successive_halving")
"""Names of the pruners."""

_Name = Literal["hyperband", "median", "successive_halving"]
_LAST_SHARE = 0.75  # a longer run saves less than it costs


class PrunerOptions(Spec):
    """Short runs, and how many trials are compared at a time."""

    first_share: Annotated[float, Field(ge=0.001, le=0.5)] = 0.1
    """Share of the requests in the first, shortest run."""
    reduction_factor: Annotated[int, Field(ge=2, le=10)] = 3
    """Each run is so many times as long as the one before; with `successive_halving` and
    `hyperband`, about one trial of so many goes on to it."""
    cohort: Annotated[int, Field(ge=2, le=10_000)] = 48
    """Trials that are compared before one of them goes on. More of them keep more workers busy."""


class PrunerSpec(PrunerOptions):
    """A pruner and its options."""

    name: _Name
    """Which one."""

    def shares(self) -> tuple[float, ...]:
        """Return the shares of the requests that the short runs have, ascending."""
        found, share = [], self.first_share
        while share <= _LAST_SHARE:
            found.append(share)
            share *= self.reduction_factor
        return tuple(found)


class _WithHyperband(Spec):
    hyperband: PrunerOptions


class _WithMedian(Spec):
    median: PrunerOptions


class _WithSuccessiveHalving(Spec):
    successive_halving: PrunerOptions


WrittenPruner = _Name | _WithHyperband | _WithMedian | _WithSuccessiveHalving


def read_pruner(value: Any) -> Any:
    """Read a pruner's name, or its name with options."""
    if value is None or isinstance(value, PrunerSpec):
        return value
    name: Any = value
    options: Any = {}
    if isinstance(value, dict) and len(value) == 1:
        name, options = next(iter(value.items()))
    if name not in PRUNERS:
        raise _wrong(f"unknown pruner {name!r}{did_you_mean(str(name), PRUNERS)}")
    if not isinstance(options or {}, dict):
        raise _wrong(f"the options of a pruner are a mapping, got {options!r}")
    try:
        return PrunerSpec.model_validate({"name": name} | (options or {}))
    except ValidationError as error:
        found = error.errors()[0]
        field = ".".join(map(str, found["loc"]))
        known = field in PrunerOptions.model_fields
        hint = did_you_mean(field, PrunerOptions.model_fields)
        raise _wrong(
            f"{name}.{field}: {found['msg'] if known else 'unknown field' + hint}"
        ) from None


def _wrong(message: str) -> PydanticCustomError:
    return PydanticCustomError("wrong_pruner", message)  # type: ignore[arg-type,unused-ignore]
