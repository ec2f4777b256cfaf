"""The policy that keeps long requests out of the way of short ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hermes.sim.replica import Replica
from hermes.sim.routing.base import ROUTING, RoutingPolicy
from hermes.sim.routing.request import RoutedRequest

__all__ = ["HeavyLight"]


@ROUTING.register("heavy_light")
class HeavyLight(RoutingPolicy):
    """Half of the replicas serve long requests, half short ones; the least loaded of the half.

    A request is heavy when its prompt, its output or either of them is longer than a threshold. To
    go by outputs is to know them beforehand, as the paper's router does.

    Args:
        rng: See `RoutingPolicy`.
        interval: See `RoutingPolicy`.
        by: `prompt`, `output` or `either`.
        prompt_tokens: Longest prompt of a light request.
        output_tokens: Longest output of a light request.
        heavy_share: Share of the replicas, the last of them, that serve heavy requests; at least
            one, and not all.
        signal: What counts as load.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        interval: int = 0,
        by: str = "prompt",
        prompt_tokens: int = 2048,
        output_tokens: int = 512,
        heavy_share: float = 0.5,
        signal: str = "kv_blocks",
    ) -> None:
        super().__init__(rng, interval)
        self._longest_prompt = float("inf") if by == "output" else prompt_tokens
        self._longest_output = float("inf") if by == "prompt" else output_tokens
        self._heavy_share = heavy_share
        self._lightest = self.load(signal).lightest

    def choose(self, replicas: Sequence[Replica], now: int, request: RoutedRequest) -> Replica:
        """Return the least loaded of those that serve such requests; see `RoutingPolicy`."""
        count = len(replicas)
        if count == 1:
            return replicas[0]
        light = count - min(max(1, round(count * self._heavy_share)), count - 1)
        heavy = (
            request.prompt_tokens > self._longest_prompt
            or request.output_tokens > self._longest_output
        )
        return self._lightest(replicas[light:] if heavy else replicas[:light], now)
