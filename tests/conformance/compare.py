"""Where Hermes and a recording part, in words."""

from __future__ import annotations

from pathlib import Path

from hermes.errors import HermesError
from tests.conformance.recording import Recording
from tests.conformance.replay import TICKS_PER_NS, Replay, replay


def difference(recording: Recording, folder: Path, batching: str = "chunked") -> str:
    """Return the first thing in which Hermes differs from a recording; empty when nothing does.

    Compared are, to the nanosecond and the token: the tokens of each request in each step, the
    start of each step, and each request's first and last token times and preemptions; with
    fast-forward, the number of steps and the same of each request.
    """
    try:
        slow = replay(recording, folder, fast_forward=False, batching=batching)
        fast = replay(recording, folder, fast_forward=True, batching=batching)
    except HermesError as error:
        return f"refused: {error}"
    return (
        _batches(recording, slow)
        or _outcome(recording, slow)
        or _prefixed("fast-forward: ", _outcome(recording, fast))
    )


def _prefixed(prefix: str, text: str) -> str:
    return prefix + text if text else ""


def _batches(recording: Recording, actual: Replay) -> str:
    assert len(actual.steps) == actual.number_of_steps, "steps were missed"
    for index, (step, (start, tokens)) in enumerate(
        zip(recording.steps, actual.steps, strict=False)
    ):
        if step.start_ns * TICKS_PER_NS != start:
            return f"step {index} starts at {step.start_ns} ns, in Hermes at {_ns(start)}"
        if step.tokens != tokens:
            theirs = {r: n for r, n in step.tokens.items() if tokens.get(r) != n}
            ours = {r: n for r, n in tokens.items() if step.tokens.get(r) != n}
            return (
                f"step {index} at {step.start_ns} ns has tokens {theirs}, in Hermes {ours}; "
                f"preempted before it: {step.preempted}"
            )
    return ""


def _outcome(recording: Recording, actual: Replay) -> str:
    if len(recording.steps) != actual.number_of_steps:
        return f"{len(recording.steps)} steps, in Hermes {actual.number_of_steps}"
    for what, theirs, ours in (
        ("first token at", recording.first_token_ns, actual.first_token),
        ("last token at", recording.last_token_ns, actual.last_token),
    ):
        for request, (ns, ticks) in enumerate(zip(theirs, ours, strict=bool(ours))):
            if ns * TICKS_PER_NS != ticks:
                return f"request {request}: {what} {ns} ns, in Hermes {_ns(ticks)}"
    for request, (was, is_now) in enumerate(
        zip(recording.preemptions, actual.preemptions, strict=True)
    ):
        if was != is_now:
            return f"request {request}: preempted {was} times, in Hermes {is_now}"
    return ""


def _ns(ticks: int) -> str:
    return f"{ticks / TICKS_PER_NS} ns"
