"""The reference with aborts: dealt with when a step has ended, before what it sampled is."""

from __future__ import annotations

from tests.oracle.reference import ReferenceReplica, Request


class AbortingReplica(ReferenceReplica):
    """Drops what it was told to abort, as vLLM's engine core does."""

    def __init__(self, *args, **options) -> None:
        super().__init__(*args, **options)
        self.doomed: list[Request] = []

    def abort(self, request: Request) -> None:
        if request in self.waiting or request in self.running:
            self.doomed.append(request)
            if self.ends_at is None:
                self.drop()

    def drop(self) -> None:
        for request in self.doomed:
            if request in self.waiting:
                self.waiting.remove(request)
                self.host_blocks += self.blocks_for(request.swapped)
            elif request in self.running:
                self.running.remove(request)
                self.pool.release(request.blocks)
                request.running = False
        self.batch = [entry for entry in self.batch if entry[0] not in self.doomed]
        self.doomed = []

    def end(self, now: int) -> list[Request]:
        self.drop()
        return super().end(now)


def run_with_aborts(
    requests: list[Request], replica: AbortingReplica, aborts: list[tuple[int, int]]
) -> None:
    """Serve requests of which some are aborted; `aborts` holds ticks and numbers, in order."""
    arrivals, aborts = list(requests), list(aborts)
    while arrivals or replica.has_work or aborts:
        ends = [] if replica.ends_at is None else [replica.ends_at]
        now = min(ends + [r.arrival for r in arrivals[:1]] + [tick for tick, _ in aborts[:1]])
        while aborts and aborts[0][0] == now:
            replica.abort(requests[aborts.pop(0)[1]])
        while arrivals and arrivals[0].arrival == now:
            replica.enqueue(arrivals.pop(0))
        if replica.ends_at == now:
            replica.end(now)
        if replica.may_begin:
            replica.begin(now)
