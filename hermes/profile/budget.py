"""Which family of operators is measured next, so that bounded time is shared as was planned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from hermes.profile.point import Point

__all__ = ["Budget", "Family", "Queue"]


@dataclass(frozen=True, slots=True)
class Family:
    """Operators that are measured alike, and their share of the time."""

    name: str
    share: float
    points: Sequence[Point]
    """In the order in which they are worth measuring."""


@dataclass(slots=True)
class Queue:
    """What is left of a family."""

    family: Family
    waiting: list[Point]
    spent: float = 0.0
    done: int = 0


@dataclass(slots=True)
class Budget:
    """Hands out points until the time is up: always of the family furthest behind its share.

    A family without points leaves its share to the others.
    """

    seconds: float
    clock: Callable[[], float]
    queues: list[Queue] = field(default_factory=list)
    start: float = 0.0

    def plan(self, families: Iterable[Family], finished: Iterable[str] = ()) -> None:
        """Queue the points of *families*, less those whose keys are *finished*; start the clock."""
        known = frozenset(finished)
        self.queues = []
        for family in families:
            unique = {each.key: each for each in family.points}
            waiting = [each for key, each in unique.items() if key not in known]
            queue = Queue(family, waiting[::-1], done=len(unique) - len(waiting))
            self.queues.append(queue)
        self.start = self.clock()

    @property
    def elapsed(self) -> float:
        """Seconds since the clock was started."""
        return self.clock() - self.start

    @property
    def left(self) -> float:
        """Seconds until the time is up."""
        return self.seconds - self.elapsed

    @property
    def total(self) -> int:
        """Points in all, those finished before included."""
        return sum(queue.done + len(queue.waiting) for queue in self.queues)

    @property
    def done(self) -> int:
        """Points finished."""
        return sum(queue.done for queue in self.queues)

    def next(self) -> tuple[Queue, Point] | None:
        """Return the next point and its queue; None when the time is up or nothing is left."""
        open_queues = [queue for queue in self.queues if queue.waiting]
        if not open_queues or self.left <= 0:
            return None
        queue = min(open_queues, key=lambda each: each.spent / each.family.share)
        return queue, queue.waiting.pop()

    def spend(self, queue: Queue, seconds: float) -> None:
        """Charge the time of one point to its family."""
        queue.spent += seconds
        queue.done += 1
