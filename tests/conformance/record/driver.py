"""The virtual clock: requests come in, steps take what the formula says, everything is written."""

from __future__ import annotations

from tests.conformance.record.engine import VERSION, VllmScheduler
from tests.conformance.recording import Case, Recording, Step


class EndlessError(Exception):
    """The scheduler goes on without end: requests take the blocks from each other in turn."""


class Driver:
    """Runs one case to its end.

    A request is given to the scheduler at the first step boundary at or after its arrival, the end
    of a KV transfer likewise. A `schedule()` that gives no tokens takes no time and is not a step;
    when two in a row give none, the clock moves on to the next arrival or end of a transfer.
    """

    def __init__(self, case: Case) -> None:
        count = len(case.requests)
        self.case = case
        self.recording = Recording(case, VERSION, [], [-1] * count, [-1] * count, [0] * count)
        self._scheduler = VllmScheduler(case)
        self._now = 0
        self._arrived = 0
        self._transfers: dict[int, int] = {}  # request -> when its transfer ends
        self._empty = 0  # schedules without tokens since the latest with
        self._lost: tuple[int, ...] = ()

    def run(self) -> Recording:
        requests, scheduler = self.case.requests, self._scheduler
        most = 20 * sum(r.prompt_tokens + r.output_tokens for r in requests)
        while self._arrived < len(requests) or scheduler.has_work:
            if self._empty == 2 or not scheduler.has_work:
                self._wait()
            while self._arrived < len(requests) and self._next_arrival() <= self._now:
                scheduler.add(self._arrived)
                self._arrived += 1
            self._step()
            if len(self.recording.steps) > most:
                raise EndlessError
        self.recording.cached_tokens = scheduler.cached_tokens
        return self.recording

    def _step(self) -> None:
        recording, scheduler, start = self.recording, self._scheduler, self._now
        tokens, context, preempted = scheduler.schedule()
        self._lost += preempted
        self._begin_transfers()
        if tokens:
            duration = self.case.cost.duration_ns(sum(tokens.values()), context)
            recording.steps.append(Step(start, duration, tokens, self._lost))
            for number in self._lost:
                recording.preemptions[number] += 1
            self._now += duration
            self._lost = ()
        self._empty = 0 if tokens else self._empty + 1
        done = [number for number, end in self._transfers.items() if end <= self._now]
        for number in done:
            del self._transfers[number]
        gave, ended = scheduler.complete(done)
        self._begin_transfers()
        for number in gave:
            if recording.first_token_ns[number] < 0:
                recording.first_token_ns[number] = self._now
        for number in ended:
            recording.last_token_ns[number] = self._now

    def _begin_transfers(self) -> None:
        for number in self._scheduler.transfers_begun():
            self._transfers[number] = self._now + self.case.requests[number].transfer_ns

    def _wait(self) -> None:
        events = [end for end in self._transfers.values() if end > self._now]
        if self._arrived < len(self.case.requests):
            events.append(self._next_arrival())
        assert events, f"{self.case.name}: nothing can run at {self._now} ns"
        self._now = max(self._now, min(events))
        self._empty = 0

    def _next_arrival(self) -> int:
        return self.case.requests[self._arrived].arrival_ns


def record(case: Case) -> Recording:
    """Run a case to its end; see `Driver`."""
    return Driver(case).run()
