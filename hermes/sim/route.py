"""Routes: where the calls of a stage can go, and who chooses."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Sequence_
from dataclasses import dataclass, field
from typing import NamedTuple

from hermes.sim.hand_off import HandOff
from hermes.sim.operations.gate import Gate
from hermes.sim.replica import Replica
from hermes.sim.routing import RoutedRequest, RoutingPolicy
from hermes.sim.tiers.lookup import Recalled
from hermes.sim.tiers.recall import Recall
from hermes.workload import Column

__all__ = ["NO_PATH", "Pick", "Route"]

NO_PATH = "no_path_to_a_client"
"""Why a request is not served whose data can get to none of those that could serve it."""


class Pick(NamedTuple):
    """The replica that takes a call, or why there is none.

    Attributes:
        replica: The one chosen; None where none could ever serve the call.
        hand_off: Whether it goes on elsewhere once the prompt is done.
        reason: Why there is none; empty where one may come up that could.
    """

    replica: Replica | None
    hand_off: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """Where a stage's calls can go, and who chooses.

    Attributes:
        replicas: Those that take them.
        policy: Chooses among them.
        uniform: All of them accept the same calls.
        hand_off: Takes over when the prompt is done; None where replicas serve whole calls.
        overflow_tokens: Pending prompt tokens of every replica above which an idle decode replica
            takes a call whole; None: never.
        recall: Stored context in front of the prompts, which only some replicas may reach.
        gate: Says which replicas take calls at present; None: all of them, always.
        adapters: LoRA adapter of each request; None where the replicas serve none.
    """

    replicas: tuple[Replica, ...]
    policy: RoutingPolicy
    uniform: bool
    hand_off: HandOff | None = None
    overflow_tokens: int | None = None
    recall: Recall | None = None
    gate: Gate | None = None
    adapters: Column | None = None

    only: Replica | None = field(init=False)
    """The replica that takes all calls whole, where there is one and nothing to choose."""

    def __post_init__(self) -> None:
        chosen = self.hand_off, self.recall, self.gate, self.adapters
        alone = len(self.replicas) == 1 and all(part is None for part in chosen)
        object.__setattr__(self, "only", self.replicas[0] if alone else None)

    def recalled(self, request: int) -> Recalled | None:
        """Return the stored context in front of a request's prompt, if there is any."""
        return None if self.recall is None else self.recall.of(request)

    def adapter(self, request: int) -> int:
        """Return the LoRA adapter that a request uses here; -1: the base model."""
        return -1 if self.adapters is None else int(self.adapters[request])

    def pick(
        self, now: int, request: RoutedRequest, reaches: Callable[[int], bool] | None = None
    ) -> Pick:
        """Choose a replica for a call.

        Args:
            now: The current tick.
            request: What is known of it.
            reaches: Whether the request's data could get to a replica; None: to all.
        """
        prompt, output = request.prompt_tokens, request.output_tokens
        replicas = self.replicas
        if self.recall is not None:
            replicas = self.recall.candidates(request.number)
        candidates, reason = self._candidates(replicas, prompt, output)
        if candidates and reaches is not None:
            candidates, reason = [r for r in candidates if reaches(r.index)], NO_PATH
        if candidates and self.gate is not None:
            candidates, reason = self._open(self.gate, candidates, request, now)
        if not candidates:
            return Pick(None, reason=reason)
        one = len(candidates) == 1
        replica = candidates[0] if one else self.policy.choose(candidates, now, request)
        helper = self._helper(candidates, prompt, output)
        if helper is not None and (reaches is None or reaches(helper.index)):
            return Pick(helper)
        return Pick(replica, self.hand_off is not None)

    def _open(
        self, gate: Gate, replicas: Sequence_[Replica], request: RoutedRequest, now: int
    ) -> tuple[Sequence_[Replica], str]:
        """Return those of the replicas that take a call now, or why none does."""
        prompt, output, hand_off = request.prompt_tokens, request.output_tokens, self.hand_off
        up = [replica for replica in replicas if replica.accepting]
        if hand_off is not None:
            up = [replica for replica in up if hand_off.targets(replica, prompt, output)]
        return gate.takers(up, prompt, now)

    def _candidates(
        self, replicas: Sequence_[Replica], prompt: int, output: int
    ) -> tuple[Sequence_[Replica], str]:
        """Return those of some replicas that could serve a call, or why there is none."""
        if self.hand_off is not None:
            return self._handing(self.hand_off, replicas, prompt, output)
        reason = replicas[0].engine.rejection(prompt, output)
        if reason or not self.uniform:
            replicas = [r for r in replicas if not r.engine.rejection(prompt, output)]
        return replicas, reason

    def _handing(
        self, hand_off: HandOff, replicas: Sequence_[Replica], prompt: int, output: int
    ) -> tuple[Sequence_[Replica], str]:
        """Return the prefill replicas that can take a prompt and reach who decodes it."""
        able = [replica for replica in replicas if not replica.engine.rejection(prompt, 1)]
        if not able:
            return able, replicas[0].engine.rejection(prompt, 1)
        paired = [replica for replica in able if hand_off.able(replica, prompt, output)]
        return paired, "no_decode_replica_holds_it"

    def _helper(self, replicas: Sequence_[Replica], prompt: int, output: int) -> Replica | None:
        """Return an idle decode replica to serve a call whole, when the others have too much."""
        if self.hand_off is None or self.overflow_tokens is None:
            return None
        if any(r.engine.pending_prompt_tokens <= self.overflow_tokens for r in replicas):
            return None
        return self.hand_off.idle_target(prompt, output)
