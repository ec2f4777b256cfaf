"""Caches that are warm when the simulation begins, with the prompts of requests that came before.

The replicas of a route get them in turn, or session by session where there are sessions; a cache
that cannot hold all of its own keeps the latest. The memory tiers of a replica that write what is
done (`kv_write_back: finish`) hold them too. What the answers left is not known, so only prompts
are there; routers that keep records of their own know nothing of it.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from hermes.sim.replica import Replica
from hermes.sim.route import Route
from hermes.sim.routing.request import adapter_keys
from hermes.workload import ADAPTER, Column, Workload

__all__ = ["warm_caches"]


def warm_caches(earlier: Workload, routes: Sequence[Route | None]) -> None:
    """Fill the caches behind each pipeline's first call.

    Args:
        earlier: The requests that came before; they say which prompts share blocks.
        routes: By pipeline; None for one that calls no model.
    """
    dealt: dict[int, tuple[Replica, Column | None, list[int]]] = {}
    for request, pipeline in enumerate(earlier.pipeline.tolist()):
        route = routes[pipeline]
        if route is None:
            continue
        turn = request if earlier.session is None else int(earlier.session[request])
        replica = route.replicas[(turn if turn >= 0 else request) % len(route.replicas)]
        adapters = None if route.adapters is None else earlier.attributes[ADAPTER]
        dealt.setdefault(replica.index, (replica, adapters, []))[2].append(request)
    for replica, adapters, requests in dealt.values():
        _warm(replica, earlier, adapters, requests)


def _warm(
    replica: Replica, earlier: Workload, adapters: Column | None, requests: Sequence[int]
) -> None:
    limits = replica.engine.limits
    assert earlier.prefixes is not None
    prompts: list[tuple[Hashable, ...]] = [
        adapter_keys(
            -1 if adapters is None else int(adapters[request]),
            earlier.prefixes.keys(request, int(earlier.prompt_tokens[request]), limits.block_size),
        )
        for request in requests
    ]
    replica.warm_tiers(prompts)
    if not limits.enable_prefix_caching:
        return
    groups = limits.kv_groups.total if limits.kv_groups else 1
    for keys in _latest(prompts, limits.num_blocks // groups):
        replica.engine.holdings.warm(keys)


def _latest(prompts: Sequence[tuple[Hashable, ...]], blocks: int) -> list[tuple[Hashable, ...]]:
    """Return the latest prompts whose different blocks fit, in the order they came."""
    seen: dict[Hashable, None] = {}
    kept = []
    for keys in reversed(prompts):
        new = [key for key in keys if key not in seen]
        if len(seen) + len(new) > blocks:
            break
        seen.update(dict.fromkeys(new))
        kept.append(keys)
    return kept[::-1]
