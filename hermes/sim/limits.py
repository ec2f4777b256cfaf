"""What bounds a replica's batches and its KV cache; names as in vLLM."""

from __future__ import annotations

from dataclasses import dataclass

from hermes.costs.kv_groups import KvGroups

__all__ = ["EngineLimits", "most_window_blocks"]


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """Bounds of one engine."""

    max_num_seqs: int
    max_num_batched_tokens: int
    block_size: int
    num_blocks: int  # usable: without the null block
    max_model_len: int
    watermark_blocks: int = 0
    long_prefill_token_threshold: int = 0  # 0: no cap
    reserve_full_prompt: bool = True  # vLLM's scheduler_reserve_full_isl
    enable_prefix_caching: bool = True
    prefill_schedule_interval: int = 1  # steps from one that carries prompts to the next
    swap_blocks: int = 0  # of host memory for preempted sequences; 0: they are recomputed
    num_drafts: int = 0  # that a decode step verifies, of each sequence
    lookahead: int = 0  # KV slots of each sequence past the tokens of a step, where drafts are made
    uniform_drafts: bool = True  # a decode verifies all its drafts, however little budget is left

    kv_groups: KvGroups | None = None  # None: every layer keeps the KV of all tokens
    window_blocks: int = 0  # most that a sequence holds in a group of layers with a window

    @property
    def decode_tokens(self) -> int:
        """Tokens that a decode step computes of each sequence."""
        return 1 + self.num_drafts

    def blocks_for(self, tokens: int) -> int:
        """Return the blocks that hold `tokens` tokens."""
        return -(-tokens // self.block_size)

    def most_blocks(self, tokens: int) -> int:
        """Return the most blocks that a sequence of `tokens` tokens ever holds at once."""
        blocks, groups = -(-tokens // self.block_size), self.kv_groups
        if groups is None:
            return blocks
        return groups.full * blocks + groups.sliding * min(blocks, self.window_blocks)


def most_window_blocks(window: int, in_flight_tokens: int, max_model_len: int, size: int) -> int:
    """Return the most blocks a sequence holds in a group of layers with a window, as vLLM does.

    Args:
        window: Tokens of the window.
        in_flight_tokens: Most that batches in flight compute together.
        max_model_len: Longest context.
        size: Tokens of a block.
    """
    return -(-min(window - 1 + in_flight_tokens, max_model_len) // size) + 1
