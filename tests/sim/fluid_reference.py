"""Max-min sharing as the textbook has it: exact fractions, every flow, every link, every change.

Written for clarity and from the definition, without anything of the simulator's own: a flow ends
at the first tick by which its last byte has arrived, and rates change at ticks only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

TICKS_PER_SECOND = 10**12


@dataclass
class Transfer:
    """One transfer to make; `cancel_at` is a tick, or None."""

    start: int
    path: tuple[str, ...]
    size: int
    weight: int = 1
    cap: int | None = None
    produced: tuple[int, int] | None = None
    cancel_at: int | None = None


@dataclass
class _State:
    transfer: Transfer
    begin: int
    until: int
    left: Fraction
    bound: Fraction | None
    end: int | None = None
    cancelled: bool = False


def max_min_rates(
    flows: dict[int, tuple[tuple[str, ...], int, Fraction | None]], capacity: dict[str, Fraction]
) -> dict[int, Fraction]:
    """Return the weighted max-min fair rate of every flow: (path, weight, bound) by number."""
    rates: dict[int, Fraction] = {}
    while len(rates) < len(flows):
        rising = {number: flow for number, flow in flows.items() if number not in rates}
        levels = [bound / weight for _, weight, bound in rising.values() if bound is not None]
        full: dict[str, Fraction] = {}
        for link, whole in capacity.items():
            weights = sum(weight for path, weight, _ in rising.values() if link in path)
            if weights:
                used = sum(rates[n] for n in rates if link in flows[n][0])
                full[link] = (whole - used) / weights
        level = min([*levels, *full.values()])
        for number, (path, weight, bound) in rising.items():
            stopped = any(full[link] == level for link in path)
            if stopped or (bound is not None and bound / weight == level):
                rates[number] = level * weight
    return rates


def finish_ticks(links: dict[str, tuple[int, int]], transfers: list[Transfer]) -> list[int | None]:
    """Return when each transfer is done, over links of (bytes a second, latency)."""
    capacity = {name: Fraction(bps, TICKS_PER_SECOND) for name, (bps, _) in links.items()}
    states = []
    for transfer in transfers:
        latency = sum(links[name][1] for name in transfer.path)
        begin = until = transfer.start + latency
        if transfer.produced is not None and transfer.produced[1] > transfer.start:
            begin = max(transfer.start, transfer.produced[0]) + latency
            until = transfer.produced[1] + latency
        cap = None if transfer.cap is None else Fraction(transfer.cap, TICKS_PER_SECOND)
        states.append(_State(transfer, begin, until, Fraction(transfer.size), cap))
    now = min((state.begin for state in states), default=0)
    while any(state.end is None and not state.cancelled for state in states):
        now = _advance(states, capacity, now)
    return [state.end for state in states]


def _advance(states: list[_State], capacity: dict[str, Fraction], now: int) -> int:
    """End what is done at a tick, share, let time pass, and return the tick of the next change."""
    for state in states:
        cancel_at = state.transfer.cancel_at
        if state.end is None and cancel_at is not None and cancel_at <= now:
            state.cancelled = True
    live = [state for state in states if state.end is None and not state.cancelled]
    for state in live:
        instant = not state.transfer.path and state.bound is None
        if state.begin <= now and state.until <= now and (state.left <= 0 or instant):
            state.end = now
    live = [state for state in live if state.end is None]
    moving = {
        n: state
        for n, state in enumerate(live)
        if state.begin <= now and state.left > 0 and (state.transfer.path or state.bound)
    }
    flows = {n: (s.transfer.path, s.transfer.weight, _bound(s, now)) for n, s in moving.items()}
    rates = max_min_rates(flows, capacity)
    ticks = [now + math.ceil(moving[n].left / rate) for n, rate in rates.items()]
    ticks += [state.begin for state in live if state.begin > now]
    ticks += [state.until for state in live if state.until > now]
    ticks += [
        state.transfer.cancel_at
        for state in live
        if state.transfer.cancel_at is not None and state.transfer.cancel_at > now
    ]
    following = min(ticks, default=now)
    for n, rate in rates.items():
        moving[n].left -= rate * (following - now)
    return following


def _bound(state: _State, now: int) -> Fraction | None:
    """Return a flow's own bound: while its bytes are produced, an even pace up to the end."""
    if state.until <= now:
        return state.bound
    pace = Fraction(state.transfer.size, state.until - state.begin)
    return pace if state.bound is None else min(pace, state.bound)
