"""Requests drawn from ServeGen's client data, client by client, window by window.

Within a window a client's arrivals are a stationary renewal process: gaps of the window's shape,
scaled to its mean rate, the first one being what is left of a gap at a random time. So the expected
number is rate x time exactly, also for clients that send less than a request a window.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hermes.errors import InputError
from hermes.scenario.synthetic import ServeGen
from hermes.scenario.units import TICKS_PER_SECOND
from hermes.scenario.workload import MAX_REQUESTS
from hermes.workload.servegen_data import Client, Lengths, Window
from hermes.workload.streams import stream
from hermes.workload.workload import Column

__all__ = ["Generated", "generate"]

_FIELD = "workload.requests.servegen"
_MEDIA = ("image", "audio", "video")


@dataclass(frozen=True, slots=True, eq=False)
class Generated:
    """Requests in order of time, and how many clients they are of."""

    arrival_ticks: Column
    prompt_tokens: Column
    output_tokens: Column
    clients: int


def generate(
    spec: ServeGen,
    clients: Sequence[Client],
    seed: int,
    count: int | None = None,
    end_ticks: int | None = None,
) -> Generated:
    """Draw the requests of all clients, from `start_s` on.

    Each client has streams of its own: leaving clients out, or a shorter limit, leaves the draws of
    the others alone.

    Args:
        spec: From when, and which clients.
        clients: From `read_clients`.
        seed: The scenario's seed.
        count: At most so many requests.
        end_ticks: Only requests before this time.

    Raises:
        InputError: if the data does not cover the start, or is more than can be simulated.
    """
    chosen = _busiest(clients, spec.max_clients)
    first = _first_window(spec, chosen)
    drawing = [_Drawing(client, seed) for client in chosen]
    parts: list[tuple[Column, Column, Column]] = []
    total = 0
    for index in range(first, max(len(client.windows) for client in chosen)):
        offset = (index - first) * chosen[0].window_s * TICKS_PER_SECOND
        if (end_ticks is not None and offset >= end_ticks) or (
            count is not None and total >= count
        ):
            break
        _check_size(chosen, index, total, count)
        parts.append(_merged([client.draw(index) for client in drawing], offset))
        total += len(parts[-1][0])
    times, prompts, outputs = (np.concatenate(column) for column in zip(*parts, strict=True))
    kept = len(times) if end_ticks is None else int(np.searchsorted(times, end_ticks))
    kept = kept if count is None else min(kept, count)
    return Generated(times[:kept], prompts[:kept], outputs[:kept], len(chosen))


def _busiest(clients: Sequence[Client], most: int | None) -> list[Client]:
    if most is None or most >= len(clients):
        return list(clients)
    ranked = sorted(range(len(clients)), key=lambda place: (-clients[place].requests, place))
    return [clients[place] for place in sorted(ranked[:most])]


def _first_window(spec: ServeGen, clients: Sequence[Client]) -> int:
    client = clients[0]
    for index, window in enumerate(client.windows):
        if window.start_s == spec.start_s:
            return index
    last = client.windows[-1].start_s
    message = (
        f"must be the start of a window: {client.windows[0].start_s} to {last} s in steps of"
        f" {client.window_s} s, got {spec.start_s}"
    )
    raise InputError(message, f"{_FIELD}.start_s")


def _check_size(clients: Sequence[Client], index: int, total: int, count: int | None) -> None:
    coming = sum(
        client.windows[index].rate_per_s * client.window_s
        for client in clients
        if index < len(client.windows)
    )
    if count is None and total + coming > MAX_REQUESTS:
        message = f"more than {MAX_REQUESTS:,} requests: set a limit or fewer clients"
        raise InputError(message, "workload.limit")


def _merged(
    drawn: Sequence[tuple[Column, Column, Column]], offset: int
) -> tuple[Column, Column, Column]:
    """Join the requests of all clients by time; of one time, in order of the clients."""
    times, prompts, outputs = (np.concatenate(column) for column in zip(*drawn, strict=True))
    order = np.argsort(times, kind="stable")
    return times[order] + np.int64(offset), prompts[order], outputs[order]


class _Drawing:
    """One client's requests, drawn window by window."""

    def __init__(self, client: Client, seed: int) -> None:
        self._client = client
        self._arrivals = stream(seed, "workload", "servegen", client.name, "arrivals")
        self._lengths = stream(seed, "workload", "servegen", client.name, "lengths")

    def draw(self, index: int) -> tuple[Column, Column, Column]:
        """Return times from the window's start, prompt and output tokens."""
        nothing = np.zeros(0, dtype=np.int64)
        if index >= len(self._client.windows):
            return nothing, nothing, nothing
        window = self._client.windows[index]
        if window.rate_per_s == 0:
            return nothing, nothing, nothing
        times = _renewal(window, self._client.window_s, self._arrivals)
        if not len(times):
            return times, nothing, nothing
        distributions = self._client.lengths(window.start_s)
        prompts = self._prompts(distributions, len(times), window)
        return times, prompts, self._drawn(distributions, "output_tokens", len(times), window)

    def _prompts(self, distributions: dict[str, Lengths], count: int, window: Window) -> Column:
        if "input_tokens" in distributions:
            return self._drawn(distributions, "input_tokens", count, window)
        prompts = self._drawn(distributions, "text_tokens", count, window, least=0)
        for kind in _MEDIA:
            if f"{kind}_count" in distributions:
                prompts = prompts + self._media(distributions, kind, count, window)
        least: Column = np.maximum(prompts, 1)
        return least

    def _media(
        self, distributions: dict[str, Lengths], kind: str, count: int, window: Window
    ) -> Column:
        """Return the tokens of a request's images, of which each has tokens of its own."""
        pieces = self._drawn(distributions, f"{kind}_count", count, window, least=0)
        ends = np.cumsum(pieces)
        if not ends[-1]:
            return np.zeros(count, dtype=np.int64)
        each = self._drawn(distributions, f"{kind}_tokens", int(ends[-1]), window, least=0)
        total = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(each)])
        tokens: Column = total[ends] - total[ends - pieces]
        return tokens

    def _drawn(
        self,
        distributions: dict[str, Lengths],
        name: str,
        count: int,
        window: Window,
        least: int = 1,
    ) -> Column:
        lengths = distributions.get(name)
        if not lengths:
            what = "an empty" if lengths is not None else "no"
            message = f"client {self._client.name} has {what} distribution of {name}"
            raise InputError(f"{message} at {window.start_s} s, where it sends requests", _FIELD)
        drawn: Column = np.maximum(lengths.pick(self._lengths.random(count)), least)
        return drawn


def _renewal(window: Window, seconds: int, rng: np.random.Generator) -> Column:
    """Return ticks of a stationary renewal process in a window."""
    shape, mean_ticks = window.shape, TICKS_PER_SECOND / window.rate_per_s
    gap, first = _GAPS[window.gaps](shape, rng)
    end = seconds * TICKS_PER_SECOND
    expected = window.rate_per_s * seconds
    parts: list[npt.NDArray[np.float64]] = []
    last = first * mean_ticks
    parts.append(np.array([last]))
    while last < end:
        size = int(expected + 4 * math.sqrt(expected)) + 16
        times = last + np.cumsum(gap(size) * mean_ticks)
        parts.append(times)
        last = float(times[-1])
    times = np.concatenate(parts)
    ticks: Column = np.rint(times[: np.searchsorted(times, end - 1)]).astype(np.int64)
    return ticks


_Gap = Callable[[int], npt.NDArray[np.float64]]


def _gamma(shape: float, rng: np.random.Generator) -> tuple[_Gap, float]:
    """Return gaps of mean 1, and the rest of one at a random time.

    A random time falls into long gaps more often: into one from Gamma(shape + 1), anywhere in it.
    """
    first = rng.random() * rng.standard_gamma(shape + 1) / shape
    return lambda size: rng.standard_gamma(shape, size) / shape, float(first)


def _weibull(shape: float, rng: np.random.Generator) -> tuple[_Gap, float]:
    """Return gaps of mean 1, and the rest of one at a random time; see `_gamma`."""
    mean = math.gamma(1 + 1 / shape)
    long = rng.standard_gamma(1 + 1 / shape) ** (1 / shape)
    return lambda size: rng.weibull(shape, size) / mean, float(rng.random() * long / mean)


_GAPS = {"Gamma": _gamma, "Weibull": _weibull}
