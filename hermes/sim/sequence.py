"""One request inside an LLM replica."""

from __future__ import annotations

from collections.abc import Hashable
from collections.abc import Sequence as Sequence_
from typing import TYPE_CHECKING

from hermes.sim.kv_cache import CachedBlock

if TYPE_CHECKING:
    from hermes.sim.classes import RequestClass
    from hermes.sim.pipelines.signal import Signal
    from hermes.sim.route import Route
    from hermes.sim.routing.request import RoutedRequest
    from hermes.sim.tiers.lookup import Recalled

__all__ = ["Sequence"]


class Sequence:
    """Prompt and output lengths, and how far the replica has got.

    While a sequence decodes, `computed` is what it was when it joined the decode group; the group
    knows how many steps have passed since (see `DecodeGroup`).

    Args:
        request_id: Number of the request in the workload; calls of a pipeline of several stages
            have numbers beyond.
        arrival: Tick at which it came.
        prompt_tokens: Tokens of its prompt.
        output_tokens: Tokens it will sample; the replica learns this only by sampling the last.
        prefix: Keys of the prompt's full blocks that other requests may share, from the start.
        priority: For the `priority` queue order; smaller is more urgent.
        deadline: For the `edf` queue order, a tick.
    """

    __slots__ = (
        "adapter",
        "arrival",
        "awaits_kv",
        "computed",
        "deadline",
        "done",
        "fetched_tokens",
        "finish_step",
        "first_token",
        "granted",
        "hand_off",
        "held",
        "join_step",
        "last_token",
        "loaded",
        "lost",
        "output_tokens",
        "preempted_ticks",
        "preemptions",
        "prefix",
        "priority",
        "prompt_tokens",
        "rank",
        "recalled",
        "remote",
        "request_id",
        "requeued_ticks",
        "retrieval_ticks",
        "reused_tokens",
        "route",
        "routed",
        "scheduled",
        "slid",
        "slots",
        "stall_ticks",
        "swapped",
        "target",
        "tenant",
        "ticket",
        "transfer_ticks",
    )

    def __init__(
        self,
        request_id: int,
        arrival: int,
        prompt_tokens: int,
        output_tokens: int,
        prefix: Sequence_[Hashable] = (),
        priority: int = 0,
        deadline: int = 0,
    ) -> None:
        self.request_id = request_id
        self.arrival = arrival
        self.prompt_tokens = prompt_tokens
        self.output_tokens = output_tokens
        self.prefix = prefix
        self.priority = priority
        self.deadline = deadline
        self.rank: tuple[int, ...] = ()  # its place in a ranked queue
        self.computed = 0  # tokens whose KV is in the cache
        self.target = prompt_tokens  # tokens to compute before the next one is sampled
        self.hand_off = False  # to another replica, once the prompt is computed
        self.remote = 0  # tokens whose KV is to come from another replica
        self.granted = 0  # tokens it was given in the step being formed
        self.slots = 0  # tokens it has KV blocks for, where those are more than it holds
        self.slid = 0  # its leading blocks that windows have left behind, in each of their groups
        self.held: list[CachedBlock] = []  # its leading blocks that others may find
        self.swapped = 0  # tokens whose KV waits in host memory
        self.loaded = 0  # tokens whose KV came from a tier while it waits
        self.awaits_kv = False  # it was found in a tier, when there were no blocks for it
        self.recalled: Recalled | None = None  # stored context in front of its prompt
        self.reused_tokens = 0  # prompt tokens found in the cache when it was first admitted
        self.scheduled = -1  # tick of the first step that held it
        self.first_token = -1
        self.last_token = -1  # tick of its latest token, kept only while it is preempted
        self.preemptions = 0
        self.tenant: RequestClass | None = None  # whose it is, where requests have classes
        self.route: Route | None = None  # who knows where it goes on
        self.routed: RoutedRequest | None = None  # what routers see of it
        # Given at its last token, with replica and sequence; None where the log hears of it.
        self.done: Signal | None = None
        self.adapter = -1  # LoRA adapter it uses; -1: the base model
        self.fetched_tokens = 0  # prompt tokens whose KV came from a memory tier
        # Where its time went, apart from computing and the wait for its first step:
        self.requeued_ticks = 0  # waiting for blocks of the replica that goes on with it
        self.transfer_ticks = 0  # waiting for its KV to arrive there
        self.retrieval_ticks = 0  # before its first step, waiting for KV from a memory tier
        self.stall_ticks = 0  # in steps that took longer for KV that came layer by layer
        self.preempted_ticks = 0  # from losing its blocks to the step that holds it again, in all
        self.lost = -1  # tick at which it lost its blocks; -1 when it has them, or had none yet
        self.ticket = -1  # place in the running order; -1 while it waits or is done
        self.join_step = 0
        self.finish_step = 0

    def block_key(self, block: int) -> Hashable:
        """Return the key of one of its full blocks: shared as given, else its own."""
        return self.prefix[block] if block < len(self.prefix) else (self.request_id, block)

    def begin_preemption(self, now: int) -> None:
        """Note that it has lost its blocks in the batch that is formed now.

        What waits for its first step is still queued, and what was given blocks again in the same
        batch has lost no time.
        """
        if self.ticket < 0 <= self.scheduled and self.lost < 0:
            self.lost = now

    def end_preemption(self, now: int) -> None:
        """Note that the step that begins now holds it again, if it ever lost its blocks."""
        if self.lost >= 0:
            self.preempted_ticks += now - self.lost
            self.lost = -1

    @property
    def final_context(self) -> int:
        """Tokens in the cache when the last token is sampled, which itself is never computed."""
        return self.prompt_tokens + self.output_tokens - 1

    def __repr__(self) -> str:
        done = f"{self.computed}/{self.target}"
        return f"<Sequence {self.request_id} {self.prompt_tokens}+{self.output_tokens} at {done}>"
