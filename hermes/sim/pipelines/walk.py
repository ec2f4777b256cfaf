"""A walk: one request, or one branch of it, on its way through a pipeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from hermes.sim.pipelines.context import Context
from hermes.sim.pipelines.draws import Place

__all__ = ["Answer", "Documents", "Failed", "Rejected", "Stopped", "Visit", "Walk"]


class Rejected(Exception):  # noqa: N818 - it is an outcome, not an error
    """The request cannot be served; `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Failed(Rejected):
    """The request was begun and is lost; `reason` says how."""


class Stopped(Exception):  # noqa: N818 - it is an outcome, not an error
    """The branch is no longer needed."""


@dataclass(frozen=True, slots=True)
class Documents:
    """Documents found and not yet in the context."""

    count: int
    tokens: int
    """Of each."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the latest model call gave."""

    scheduled: int
    first_token: int
    last_token: int
    prompt_tokens: int
    output_tokens: int
    replica: int


class Visit(NamedTuple):
    """One stage of one request: where its time went, in ticks, which add up to all of it.

    Attributes:
        stage: Number of the stage in the log's names.
        begin: Tick at which it was entered.
        queue: Waiting to be taken up.
        compute: Being worked on.
        transfer: Moving there, or between replicas of the stage.
        retrieval: Waiting for KV from a memory tier.
        preemption: From losing its KV blocks to the step that took it up again.
        server: Number of the replica or station; -1 for what needs none.
    """

    stage: int
    begin: int
    queue: int
    compute: int
    transfer: int
    retrieval: int
    preemption: int
    server: int

    @property
    def end(self) -> int:
        """Tick at which it was left."""
        times = self.queue + self.compute + self.transfer + self.retrieval + self.preemption
        return self.begin + times


@dataclass(slots=True, eq=False)
class Walk:
    """How far a request, or a branch of it, has got.

    Attributes:
        request: Its number in the workload.
        arrival: Tick at which it came.
        context: Tokens gathered so far.
        place: Loop rounds and branches it is in.
        at: Number of the replica or station that has its data; -1: outside.
        documents: Found, and not yet in the context.
        answer: Of the latest model call.
        right: Whether that is right; None where it is not known.
        visits: Stages done, as far as the request's end waits for them.
        parent: The walk that it is a branch of.
        dropped: Nobody waits for this branch any more.
    """

    request: int
    context: Context
    arrival: int = 0
    place: Place = ()
    at: int = -1
    documents: tuple[Documents, ...] = ()
    answer: Answer | None = None
    right: bool | None = None
    visits: list[Visit] = field(default_factory=list)
    parent: Walk | None = None
    dropped: bool = False

    @property
    def stopped(self) -> bool:
        """Whether nobody waits for it any more, or for what it is a branch of."""
        walk: Walk | None = self
        while walk is not None and not walk.dropped:
            walk = walk.parent
        return walk is not None

    def branch(self, number: int) -> Walk:
        """Return a branch that starts where this walk is."""
        return replace(self, place=(*self.place, number), visits=[], parent=self, dropped=False)

    def read_documents(self, number: Callable[[], int]) -> None:
        """Put the documents found into the context; `number` gives its new piece an owner."""
        if self.documents:
            tokens = sum(found.count * found.tokens for found in self.documents)
            self.context = self.context.grown(tokens, number())
            self.documents = ()
