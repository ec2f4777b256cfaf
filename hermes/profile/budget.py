"""Which family of operators is measured next, so that bounded time is shared as was planned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from hermes.profile.patience import Patience
from hermes.profile.physics import Peaks
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
    """Hands out points that end before the time is up, of the family furthest behind its share.

    A point whose worst case is longer than what is left is passed over: it is left for another
    session. A family without points leaves its share to the others.
    """

    seconds: float
    clock: Callable[[], float]
    peaks: Peaks
    """Of the device, which bound the work of points from below."""
    patience: Patience
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

    def most(self, point: Point) -> float:
        """Return how long *point* may take at most, in seconds."""
        work, setup = self.peaks.work_seconds(point), self.peaks.setup_seconds(point)
        return self.patience.most(point.operator, work, setup)

    def next(self) -> tuple[Queue, Point] | None:
        """Return the next point and its queue; None when nothing that is left ends in time."""
        left = self.left
        for queue in sorted(self.queues, key=lambda each: each.spent / each.family.share):
            for place in range(len(queue.waiting) - 1, -1, -1):
                if self.most(queue.waiting[place]) <= left:
                    return queue, queue.waiting.pop(place)
        return None

    def spend(self, queue: Queue, point: Point, seconds: float) -> None:
        """Charge the time of one point to its family, and learn from it."""
        work, setup = self.peaks.work_seconds(point), self.peaks.setup_seconds(point)
        self.patience.learn(point.operator, seconds, work, setup)
        queue.spent += seconds
        queue.done += 1
