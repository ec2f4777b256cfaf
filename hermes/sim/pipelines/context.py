"""The context of a request: the tokens gathered so far, and which KV blocks they are.

Contexts that begin alike share the KV of what they have in common: the next turn that of the turn
before, the branches of a fork that of what came before it. Every time a context grows, the new
tokens get an owner of their own. A block is then known by the owner of its last token and its
position: the owner fixes all that went before.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

__all__ = ["Context"]


class Context:
    """Tokens in order, in pieces with an owner each; never changed, only grown into another."""

    __slots__ = ("_pieces", "tokens")

    def __init__(self, tokens: int, pieces: tuple[tuple[int, int], ...]) -> None:
        """Make a context.

        Args:
            tokens: All of them.
            pieces: Where each piece ends, and its owner's number.
        """
        self.tokens = tokens
        self._pieces = pieces

    @classmethod
    def of_request(cls, request: int, tokens: int) -> Context:
        """Return the context of a request that has only its prompt."""
        return cls(tokens, ((tokens, request),))

    def grown(self, tokens: int, owner: int) -> Context:
        """Return the context with more tokens at its end."""
        if not tokens:
            return self
        end = self.tokens + tokens
        return Context(end, (*self._pieces, (end, owner)))

    def keys(self, block_size: int, known: Sequence[Hashable] = ()) -> tuple[Hashable, ...]:
        """Return the keys of the full blocks.

        Args:
            block_size: Tokens in a block.
            known: Keys of the first blocks, where the workload says which prompts begin alike.
        """
        keys = list(known)
        for end, owner in self._pieces:
            keys.extend(("context", owner, block) for block in range(len(keys), end // block_size))
        return tuple(keys)
