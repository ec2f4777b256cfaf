"""Routes of a deployment: which clients serve the calls of a stage, and how one is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hermes.catalog import find_model
from hermes.errors import InputError, UnknownNameError
from hermes.scenario.scenario import Scenario
from hermes.sim.llm_client import ClientPlan
from hermes.sim.looking import looked_up
from hermes.sim.routing import RoutingPolicy
from hermes.sim.routing.plan import PolicyPlan, plan_policy

__all__ = ["RoutePlan", "plan_route"]

DEFAULT_ROUTING = "least_loaded"


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """Which clients serve a pipeline's stage, and how one of their replicas is chosen."""

    clients: tuple[str, ...]
    policy: PolicyPlan | type[RoutingPolicy]
    decode: RoutePlan | None = None  # who goes on once the prompt is done

    @property
    def all_clients(self) -> tuple[str, ...]:
        """Those that take calls, and those that go on with them."""
        return (*self.clients, *(self.decode.clients if self.decode else ()))


def plan_route(
    field: str,
    client: str | None,
    model: str | None,
    clients: Sequence[ClientPlan],
    scenario: Scenario,
    folder: Path | None = None,
) -> RoutePlan:
    """Return the route of a stage's calls.

    Args:
        field: Where the stage is written.
        client: The client it names, if any.
        model: The model it names, if any.
        clients: All LLM clients.
        scenario: Gives the routing policies.
        folder: Where relative paths in it start; default: the current folder.

    Raises:
        InputError: nobody serves it, or it is not clear who.
    """
    if not clients:
        raise InputError("no client serves this stage (`serves: [generate]`)", field)
    candidates = [plan for plan in clients if client in {None, plan.name}]
    if model is not None:
        found = looked_up(f"{field}.model", lambda: find_model(model, folder))
        served = sorted({plan.model.name for plan in candidates})
        candidates = [plan for plan in candidates if plan.model == found]
        if not candidates:
            raise UnknownNameError(
                f"no client serves {found.name}; served: {', '.join(served)}", f"{field}.model"
            )
    models = sorted({plan.model.name for plan in candidates})
    if len(models) > 1:
        raise InputError(
            f"the clients serve several models, so the stage must name one: {', '.join(models)}",
            f"{field}.model",
        )
    return _phases(field, candidates, scenario)


def _phases(field: str, clients: list[ClientPlan], scenario: Scenario) -> RoutePlan:
    """Return the route over clients of one model: whole, or prefill and then decode."""
    names = {
        kind: tuple(client.name for client in clients if client.serves == kind)
        for kind in ("generate", "prefill", "decode")
    }
    whole, prefill, decode = names.values()
    if whole and (prefill or decode):
        raise InputError(
            f"clients {', '.join(whole)} serve whole requests and {', '.join(prefill + decode)} a "
            "phase of them, so the stage must name a client",
            f"{field}.client",
        )
    if whole:
        return RoutePlan(whole, _routing(scenario, whole))
    if not (prefill and decode):
        there, missing = ("prefill", "decode") if prefill else ("decode", "prefill")
        raise InputError(
            f"client {(prefill + decode)[0]} serves {there}, but none serves {missing}",
            f"clients.{(prefill + decode)[0]}.serves",
        )
    formats = {client.name: client.kv_dtype for client in clients}
    if len(set(formats.values())) > 1:
        raise InputError(
            f"KV that is handed over must have one format, given: {formats}",
            f"clients.{decode[0]}.kv_cache_dtype",
        )
    return RoutePlan(
        prefill, _routing(scenario, prefill), RoutePlan(decode, _routing(scenario, decode))
    )


def _routing(scenario: Scenario, clients: tuple[str, ...]) -> PolicyPlan:
    chosen = {name: scenario.routing.get(name, DEFAULT_ROUTING) for name in clients}
    first = chosen[clients[0]]
    if any(other != first for other in chosen.values()):
        raise InputError(f"clients that share a stage need one policy, given: {chosen}", "routing")
    return plan_policy(first, f"routing.{clients[0]}")
