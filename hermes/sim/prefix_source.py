"""Where an engine may find the KV of a prompt's beginning, besides its own cache."""

from __future__ import annotations

from typing import Protocol

from hermes.sim.sequence import Sequence

__all__ = ["PrefixSource"]


class PrefixSource(Protocol):
    """Asked when a request is considered for admission, as vLLM asks its KV connector."""

    @property
    def layerwise(self) -> bool:
        """Whether requests begin at once, and their first step waits for the KV layer by layer."""

    def find(self, sequence: Sequence, begin: int) -> int:
        """Return how many tokens, from token `begin` on, are to be fetched; may be none."""

    def take(self, sequence: Sequence, begin: int) -> None:
        """Hear that a request is admitted or set aside, with what `find` has just said."""
