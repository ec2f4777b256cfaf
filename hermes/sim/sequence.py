"""One request inside an LLM replica."""

from __future__ import annotations

__all__ = ["Sequence"]


class Sequence:
    """Prompt and output lengths, and how far the replica has got.

    While a sequence decodes, `computed` is what it was when it joined the decode group; the group
    knows how many steps have passed since (see `DecodeGroup`).
    """

    __slots__ = (
        "arrival",
        "computed",
        "finish_step",
        "first_token",
        "join_step",
        "last_token",
        "output_tokens",
        "preemptions",
        "prompt_tokens",
        "request_id",
        "scheduled",
        "target",
        "ticket",
    )

    def __init__(
        self, request_id: int, arrival: int, prompt_tokens: int, output_tokens: int
    ) -> None:
        self.request_id = request_id
        self.arrival = arrival
        self.prompt_tokens = prompt_tokens
        self.output_tokens = output_tokens
        self.computed = 0  # tokens whose KV is in the cache
        self.target = prompt_tokens  # tokens to compute before the next one is sampled
        self.scheduled = -1  # tick of the first step that held it
        self.first_token = -1
        self.last_token = -1  # tick of its latest token, kept only while it is preempted
        self.preemptions = 0
        self.ticket = -1  # place in the running order; -1 while it waits or is done
        self.join_step = 0
        self.finish_step = 0

    @property
    def final_context(self) -> int:
        """Tokens in the cache when the last token is sampled, which itself is never computed."""
        return self.prompt_tokens + self.output_tokens - 1

    def __repr__(self) -> str:
        done = f"{self.computed}/{self.target}"
        return f"<Sequence {self.request_id} {self.prompt_tokens}+{self.output_tokens} at {done}>"
