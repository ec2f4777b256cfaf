"""The workload: the requests of one simulation, as columns."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from hermes.errors import InputError

__all__ = ["Column", "Prefixes", "Workload"]

Column: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Prefixes:
    """Prompts as chains of blocks: equal ids mean equal blocks after equal heads.

    Attributes:
        block_tokens: Tokens in one block.
        ids: For each request, the ids of its prompt's blocks, from the start.
    """

    block_tokens: int
    ids: tuple[tuple[int, ...], ...]

    def require_goes_with(self, block_size: int) -> None:
        """Check that one of the two block sizes divides the other.

        Raises:
            InputError: if neither does.
        """
        if self.block_tokens % block_size and block_size % self.block_tokens:
            message = (
                f"blocks of {self.block_tokens} tokens do not go with a block_size of {block_size}:"
                " one must divide the other"
            )
            raise InputError(message, "workload.requests.block_tokens")

    def keys(self, request: int, prompt_tokens: int, block_size: int) -> tuple[int, ...]:
        """Return the keys of a prompt's full blocks of `block_size` tokens.

        Raises:
            InputError: if neither of the two block sizes divides the other.
        """
        ids = self.ids[request]
        full = min(len(ids) * self.block_tokens, prompt_tokens) // block_size
        if self.block_tokens == block_size:
            return ids[:full]
        self.require_goes_with(block_size)
        if self.block_tokens >= block_size:
            parts = self.block_tokens // block_size
            return tuple(ids[i // parts] * parts + i % parts for i in range(full))
        step = block_size // self.block_tokens
        return tuple(ids[(i + 1) * step - 1] for i in range(full))


@dataclass(frozen=True, slots=True, eq=False)
class ClosedLoop:
    """Users who ask, wait for the answer, think, and ask again.

    Attributes:
        users: How many.
        think_ticks: How long a user thinks before each request.
    """

    users: int
    think_ticks: Column


@dataclass(frozen=True, slots=True, eq=False)
class Workload:
    """Requests in order of arrival; a request's id is its position. The columns are read-only.

    Attributes:
        arrival_ticks: When each arrives, in ticks (picoseconds) from the start.
        prompt_tokens: Prompt tokens of each, at least 1.
        output_tokens: Output tokens of each, at least 1.
        pipeline: Index of each one's pipeline in `pipeline_names`.
        pipeline_names: Names of the scenario's pipelines.
        source: Where the requests come from, in one line for people.
        priority: Priority of each, smaller is more urgent; None where all are alike.
        prefixes: What each prompt begins with, for prefix caches; None where nothing is shared.
        session: Which session each is a turn of, -1 where of none; None where there are none.
        attributes: Further whole numbers of each, by name, for pipelines to go by.
        closed_loop: The users who ask one after another; the arrivals are all 0 then, and known
            when they have happened. None where requests come by themselves.
        earlier: Requests that came before and left their prompts in the caches; None: none did.
    """

    arrival_ticks: Column
    prompt_tokens: Column
    output_tokens: Column
    pipeline: Column
    pipeline_names: tuple[str, ...]
    source: str
    priority: Column | None = None
    prefixes: Prefixes | None = None
    session: Column | None = None
    attributes: Mapping[str, Column] = field(default_factory=dict)
    closed_loop: ClosedLoop | None = None
    earlier: Workload | None = None

    def __post_init__(self) -> None:
        columns = self._columns()
        if self.prefixes is not None and len(self.prefixes.ids) != len(self.arrival_ticks):
            raise ValueError(f"{len(self.prefixes.ids)} prefixes of {len(columns[0])} requests")
        if len({len(column) for column in columns}) != 1:
            raise ValueError(f"columns differ in length: {[len(column) for column in columns]}")
        for column in columns:
            column.setflags(write=False)

    def __len__(self) -> int:
        return len(self.arrival_ticks)

    def first(self, count: int) -> Workload:
        """Return the first so many requests, as a limit on them would have left them."""
        cut: dict[str, Any] = {
            column.name: value[:count]
            for column in fields(self)
            if isinstance(value := getattr(self, column.name), np.ndarray)
        }
        prefixes = self.prefixes
        if prefixes is not None:
            prefixes = replace(prefixes, ids=prefixes.ids[:count])
        loop = self.closed_loop
        if loop is not None:
            loop = ClosedLoop(loop.users, loop.think_ticks[:count])
        kept = {name: column[:count] for name, column in self.attributes.items()}
        return replace(self, prefixes=prefixes, attributes=kept, closed_loop=loop, **cut)

    def with_writable_arrivals(self) -> Workload:
        """Return the same requests, their arrivals a copy that a simulation may fill in."""
        copy = replace(self, arrival_ticks=self.arrival_ticks.copy())
        copy.arrival_ticks.setflags(write=True)
        return copy

    def digest(self) -> str:
        """Return the SHA-256 of the columns and pipeline names: equal means equal traffic."""
        total = hashlib.sha256("\0".join(self.pipeline_names).encode())
        for name, column in zip(("", "", "", "", "priority", "session"), self._all(), strict=True):
            if column is not None:
                total.update(name.encode())
                total.update(np.ascontiguousarray(column, dtype="<i8").tobytes())
        for name, column in self.attributes.items():
            total.update(f"attribute.{name}".encode())
            total.update(np.ascontiguousarray(column, dtype="<i8").tobytes())
        if self.closed_loop is not None:
            total.update(f"closed loop of {self.closed_loop.users}".encode())
            think = np.ascontiguousarray(self.closed_loop.think_ticks, dtype="<i8")
            total.update(think.tobytes())
        if self.prefixes is not None:
            total.update(repr((self.prefixes.block_tokens, self.prefixes.ids)).encode())
        if self.earlier is not None:
            total.update(self.earlier.digest().encode())
        return total.hexdigest()

    def _columns(self) -> tuple[Column, ...]:
        known = [column for column in self._all() if column is not None]
        return (*known, *self.attributes.values())

    def _all(self) -> tuple[Column | None, ...]:
        always = self.arrival_ticks, self.prompt_tokens, self.output_tokens, self.pipeline
        return *always, self.priority, self.session
