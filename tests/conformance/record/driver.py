"""The virtual clock: requests come in, steps take what the formula says, everything is written."""

from __future__ import annotations

from tests.conformance.record.engine import VERSION, VllmScheduler
from tests.conformance.recording import Case, Recording, Step


def record(case: Case) -> Recording:
    """Run a case to its end.

    A request is given to the scheduler at the first step boundary at or after its arrival. A
    `schedule()` that gives no tokens takes no time and is not a step; two in a row are an error.
    """
    scheduler = VllmScheduler(case)
    count = len(case.requests)
    recording = Recording(case, VERSION, [], [-1] * count, [-1] * count, [0] * count)
    now = arrived = 0
    empty = False
    lost: tuple[int, ...] = ()
    while arrived < count or scheduler.has_work:
        if not scheduler.has_work:
            now = max(now, case.requests[arrived].arrival_ns)
        while arrived < count and case.requests[arrived].arrival_ns <= now:
            scheduler.add(arrived)
            arrived += 1
        tokens, context, preempted = scheduler.schedule()
        for number in preempted:
            recording.preemptions[number] += 1
        lost += preempted
        gave, ended = scheduler.complete()
        if not tokens:
            assert not empty, f"{case.name}: nothing can run at {now} ns"
            empty = True
            continue
        empty = False
        duration = case.cost.duration_ns(sum(tokens.values()), context)
        recording.steps.append(Step(now, duration, tokens, lost))
        lost = ()
        now += duration
        for number in gave:
            if recording.first_token_ns[number] < 0:
                recording.first_token_ns[number] = now
        for number in ended:
            recording.last_token_ns[number] = now
    recording.cached_tokens = scheduler.cached_tokens
    return recording
