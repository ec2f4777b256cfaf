"""The reference for pipeline parallelism: batches in flight, one lane each, walked naively."""

from __future__ import annotations

from collections.abc import Callable

from tests.oracle.reference import ReferenceReplica, Request


class PipelinedReference(ReferenceReplica):
    """A replica with stages; `ends_at` is when the oldest batch in flight leaves the last one."""

    def __init__(self, *args, stages: int, hop_ticks: Callable[[int], int], **options) -> None:
        super().__init__(*args, **options)
        self.stages = stages
        self.hop_ticks = hop_ticks
        self.lanes: list[list[Request]] = [[] for _ in range(stages)]
        self.flights: list[tuple[int, int, list[tuple[Request, int]]]] = []  # lane, end, batch
        self.stage_free = [0] * stages
        self.ended = False

    @property
    def has_work(self) -> bool:
        return bool(self.waiting or any(self.lanes))

    @property
    def may_begin(self) -> bool:
        return self.has_work and (self.ended or not self.flights)

    @property
    def elsewhere(self) -> int:  # type: ignore[override]
        return sum(len(lane) for lane in self.lanes if lane is not self.running)

    @property
    def in_flight(self) -> int:  # type: ignore[override]
        return len(self.flights)

    def begin(self, now: int) -> None:
        """Send off batches while there are free lanes and something that can run."""
        self.ended = False
        while len(self.flights) < self.stages:
            taken = [lane for lane, _, _ in self.flights]
            free = [lane for lane in range(self.stages) if lane not in taken]
            lane = next((lane for lane in free if self.lanes[lane]), free[0])
            self.running = self.lanes[lane]
            super().begin(now)
            if not self.batch:
                break
            ticks = -(-(self.ends_at - now) // self.stages)
            at = now
            for stage in range(self.stages):
                at = max(at, self.stage_free[stage]) + ticks
                self.stage_free[stage] = at
                at += self.hop_ticks(sum(tokens for _, tokens in self.batch))
            at -= self.hop_ticks(sum(tokens for _, tokens in self.batch))
            self.flights.append((lane, at, self.batch))
            self.batch = []
        self.ends_at = self.flights[0][1] if self.flights else None

    def end(self, now: int) -> list[Request]:
        lane, _, self.batch = self.flights.pop(0)
        self.running = self.lanes[lane]
        finished = super().end(now)
        self.ended = True
        self.ends_at = self.flights[0][1] if self.flights else None
        return finished
