"""The policy that goes by time: where a request would be done first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hermes.sim.replica import Replica
from hermes.sim.routing.backlog import EXPECTED_OUTPUT_TOKENS, backlog, drain_ticks
from hermes.sim.routing.base import ROUTING, RoutingPolicy
from hermes.sim.routing.load import Reading
from hermes.sim.routing.request import RoutedRequest

__all__ = ["ShortestDrain"]


@ROUTING.register("shortest_drain")
class ShortestDrain(RoutingPolicy):
    """The replica that would be through first with all it has and the request, by its cost model.

    So of replicas of different speed the faster ones get more, also when all are idle.

    Args:
        rng: See `RoutingPolicy`.
        interval: See `RoutingPolicy`.
        output_tokens: Tokens that a request is expected to have left.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        interval: int = 0,
        output_tokens: int = EXPECTED_OUTPUT_TOKENS,
    ) -> None:
        super().__init__(rng, interval)
        self._backlog = Reading(backlog, interval)
        self._output_tokens = output_tokens

    def choose(self, replicas: Sequence[Replica], now: int, request: RoutedRequest) -> Replica:
        """Return the replica that is through first; see `RoutingPolicy`."""
        prompt, output = request.prompt_tokens, self._output_tokens

        def ticks(replica: Replica) -> int:
            return drain_ticks(replica, self._backlog.of(replica, now).plus(prompt), output)

        return min(replicas, key=ticks)
