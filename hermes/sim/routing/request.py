"""A request as a router sees it."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from hermes.workload import Workload

__all__ = ["RoutedRequest", "adapter_keys"]


def adapter_keys(adapter: int, keys: tuple[Hashable, ...]) -> tuple[Hashable, ...]:
    """Return the keys of blocks as an adapter makes them: its KV is of no use to any other."""
    if adapter < 0:
        return keys
    return tuple(("lora", adapter, key) for key in keys)


class RoutedRequest:
    """What may decide where a request goes; all but the lengths is looked up when asked for.

    Args:
        number: Its number in the workload.
        prompt_tokens: Tokens of its prompt.
        output_tokens: Tokens it will get, which only an oracle may ask for.
        workload: Knows the rest.
        keys: Returns the keys of its prompt's blocks by block size; default: the workload does.
        adapter: The LoRA adapter that it uses there; -1: the base model.
    """

    __slots__ = ("_keys", "adapter", "number", "output_tokens", "prompt_tokens", "workload")

    def __init__(
        self,
        number: int,
        prompt_tokens: int,
        output_tokens: int,
        workload: Workload,
        keys: Callable[[int], tuple[Hashable, ...]] | None = None,
        adapter: int = -1,
    ) -> None:
        self.number = number
        self.prompt_tokens = prompt_tokens
        self.output_tokens = output_tokens
        self.workload = workload
        self._keys = keys
        self.adapter = adapter

    @property
    def priority(self) -> int:
        """Smaller is more urgent."""
        priority = self.workload.priority
        return 0 if priority is None else int(priority[self.number])

    @property
    def session(self) -> int:
        """The session it is a turn of; -1: of none."""
        session = self.workload.session
        return -1 if session is None else int(session[self.number])

    def prefix_keys(self, block_size: int) -> tuple[Hashable, ...]:
        """Return the keys of the prompt's full blocks that other requests may share."""
        if self._keys is not None:
            return self._keys(block_size)
        prefixes = self.workload.prefixes
        if prefixes is None:
            return ()
        keys = prefixes.keys(self.number, self.prompt_tokens, block_size)
        return adapter_keys(self.adapter, keys)

    def __repr__(self) -> str:
        return f"<RoutedRequest {self.number} {self.prompt_tokens}+{self.output_tokens}>"
