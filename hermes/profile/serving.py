"""A small serving loop around the compact decoder, driven by a trace in real time.

It forms batches as the simulator's `chunked` policy does: decodes first, then chunks of the prompts
already begun, then waiting requests, within a budget of tokens and of sequences. So the same trace
can be simulated, and what differs is the cost model and what the loop itself does.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

from hermes.profile.decoder import Chunk, Decoder
from hermes.profile.grid import product
from hermes.profile.patience import MARGIN, Patience
from hermes.profile.timing import captured, one_thread

__all__ = ["Arrival", "Served", "ServingLoop", "serve"]

_REACH_STEP = 128
_WARM_RUNS = 4
_WARM_FIXED_S, _WARM_UNKNOWN = 0.05, 3.0


class Arrival(NamedTuple):
    """A request of the trace."""

    seconds: float
    prompt_tokens: int
    output_tokens: int


class Served(NamedTuple):
    """When a request came, began to answer, and ended, in seconds from the start."""

    arrival: float
    first_token: float
    last_token: float
    output_tokens: int


class LoopClock:
    """Real time; or, for a loop in one thread, that thread's time, idle time skipped over.

    The thread's clock stands still while other programs have the processor, so that a busy machine
    serves as an idle one would.
    """

    def __init__(self, alone: bool) -> None:
        self._alone = alone
        self._read = time.thread_time if alone else time.perf_counter
        self._start = self._read()

    def now(self) -> float:
        """Return the seconds since the start."""
        return self._read() - self._start

    def wait(self, seconds: float) -> None:
        """Let some time pass."""
        if seconds > 0 and self._alone:
            self._start -= seconds
        elif seconds > 0:
            time.sleep(seconds)


@dataclass(slots=True)
class _Sequence:
    index: int
    request: Arrival
    slot: int
    computed: int = 0
    produced: int = 0
    first_token: float = 0.0


class ServingLoop:
    """The state of the engine. Decodes lie in slots 0, 1, ...; prompts in those above.

    The decoder needs twice *max_num_seqs* slots, and room for the longest request in each.
    """

    def __init__(self, decoder: Decoder, max_num_seqs: int, max_num_batched_tokens: int) -> None:
        self.decoder = decoder
        self.torch = decoder.operands.torch
        self.device = decoder.operands.device
        self.most, self.budget = max_num_seqs, max_num_batched_tokens
        self.free = list(range(2 * max_num_seqs - 1, max_num_seqs - 1, -1))
        self.running: list[_Sequence] = []
        self.prefilling: list[_Sequence] = []
        self.waiting: deque[tuple[int, Arrival]] = deque()
        self._graphs: dict[tuple[int, int], Any] = {}

    def step(self) -> list[tuple[_Sequence, int]]:
        """Run one pass; return the prefilled chunks."""
        budget = self.budget - len(self.running)
        planned: list[tuple[_Sequence, int]] = []
        for sequence in self.prefilling:
            count = min(budget, sequence.request.prompt_tokens - sequence.computed)
            if count > 0:
                planned.append((sequence, count))
                budget -= count
        while self.waiting and budget > 0 and self._places():
            index, request = self.waiting.popleft()
            sequence = _Sequence(index, request, self.free.pop())
            self.prefilling.append(sequence)
            count = min(budget, request.prompt_tokens)
            planned.append((sequence, count))
            budget -= count
        self._run(planned)
        return planned

    def _places(self) -> bool:
        return len(self.running) + len(self.prefilling) < self.most

    def _run(self, planned: Sequence[tuple[_Sequence, int]]) -> None:
        chunks = [Chunk(each.slot, each.computed, count) for each, count in planned]
        contexts = [each.computed for each in self.running]
        if not chunks and self.device.startswith("cuda"):
            self._replay(contexts)
            return
        reach = max(contexts, default=0) + 1
        positions = list(contexts)
        for chunk in chunks:
            positions += range(chunk.start, chunk.start + chunk.length)
        where = self.torch.tensor(positions, device=self.device)
        mask = self._mask(where[: len(contexts)], reach) if len(set(contexts)) > 1 else None
        run = self.decoder.prepared(chunks, len(contexts), reach, mask)
        run(self.torch.zeros_like(where), where).tolist()  # waits for the device

    def _mask(self, positions: Any, reach: int) -> Any:
        keys = self.torch.arange(reach, device=self.device)
        return (keys[None, :] <= positions[:, None])[:, None, None, :]

    def warm(
        self, longest: int, seconds: float, expected: Callable[[int, int], float]
    ) -> list[tuple[int, int, float]]:
        """Run decodes as serving will: graphs are captured, first calls are over.

        Args:
            longest: Tokens of the longest request.
            seconds: For all of them; none starts that could outlast them.
            expected: Seconds of a step, from sequences and their context.

        Returns:
            Sequences, mean context and seconds of steps whose contexts differ as in serving.
        """
        clock, patience = self.clock(), Patience(_WARM_FIXED_S, _WARM_UNKNOWN)
        end = time.monotonic() + seconds
        found = []
        for batch, last in self._warm_shapes(longest):
            begun, work = time.monotonic(), expected(batch, last)
            if patience.most("warm", work) > end - begun:
                continue
            contexts = [
                max(1, min(last, self.decoder.length - 1) - place) for place in range(batch)
            ]
            self.running = [_Sequence(0, Arrival(0.0, 1, 1), 0, each) for each in contexts]
            times = []
            for _ in range(_WARM_RUNS):
                before = clock.now()
                self._run([])
                times.append(clock.now() - before)
            found.append((batch, sum(contexts) // batch, median(times[1:])))
            patience.learn("warm", time.monotonic() - begun, work)
        self.running = []
        return found

    def _warm_shapes(self, longest: int) -> list[tuple[int, int]]:
        """Return numbers of sequences and longest contexts, the ends first."""
        batches = [1]
        while batches[-1] < self.most:
            batches.append(min(self.most, 2 * batches[-1]))
        lasts = [*range(_REACH_STEP - 1, longest + _REACH_STEP, _REACH_STEP)]
        return [(batch, last) for _, (batch, last) in product([0], batches, lasts)]

    def clock(self) -> LoopClock:
        """Return a clock that starts now."""
        return LoopClock(one_thread(self.torch, self.device))

    def _replay(self, contexts: Sequence[int]) -> None:
        """Run a decode step from the graph of the next larger batch and context."""
        torch = self.torch
        batch = min(self.most, 1 << (len(contexts) - 1).bit_length())
        steps = -(-(max(contexts) + 1) // _REACH_STEP)
        reach = min(self.decoder.length, steps * _REACH_STEP)
        if (batch, reach) not in self._graphs:
            self._graphs[batch, reach] = self._capture(batch, reach)
        graph, where, mask, sampled = self._graphs[batch, reach]
        padded = [*contexts, *[0] * (batch - len(contexts))]
        where.copy_(torch.tensor(padded, device=self.device))
        mask.copy_(self._mask(where, reach))
        graph.replay()
        sampled.tolist()

    def _capture(self, batch: int, reach: int) -> tuple[Any, Any, Any, Any]:
        torch = self.torch
        where = torch.zeros(batch, dtype=torch.int64, device=self.device)
        mask, tokens = self._mask(where, reach).clone(), torch.zeros_like(where)
        run = self.decoder.prepared([], batch, reach, mask)
        stream, outer = torch.cuda.Stream(), torch.cuda.current_stream()
        stream.wait_stream(outer)
        with torch.cuda.stream(stream):
            run(tokens, where)
        torch.cuda.synchronize()
        graph, sampled = captured(torch, stream, lambda: run(tokens, where))
        return graph, where, mask, sampled

    def advance(
        self, planned: Sequence[tuple[_Sequence, int]], now: float, served: list[Served | None]
    ) -> None:
        """Count the tokens of a step that ended *now*."""
        before = list(self.running)
        for sequence in before:
            sequence.computed += 1
            sequence.produced += 1
        for sequence, count in planned:
            sequence.computed += count
            if sequence.computed == sequence.request.prompt_tokens:
                sequence.produced, sequence.first_token = 1, now
                self.prefilling.remove(sequence)
                self._decode(sequence)
        for sequence in list(self.running):
            if sequence.produced == sequence.request.output_tokens:
                request = sequence.request
                served[sequence.index] = Served(
                    request.seconds, sequence.first_token, now, request.output_tokens
                )
                self._finish(sequence)

    def _decode(self, sequence: _Sequence) -> None:
        target = len(self.running)
        self.decoder.move(sequence.slot, target, sequence.computed)
        self.free.append(sequence.slot)
        sequence.slot = target
        self.running.append(sequence)

    def _finish(self, sequence: _Sequence) -> None:
        last = self.running.pop()
        if last is not sequence:
            self.decoder.move(last.slot, sequence.slot, last.computed)
            last.slot = sequence.slot
            self.running[last.slot] = last


def serve(
    loop: ServingLoop,
    trace: Sequence[Arrival],
    seconds: float = math.inf,
    clock: Callable[[], float] = time.monotonic,
) -> list[Served | None]:
    """Serve a trace as its requests arrive; return when each was answered.

    Args:
        loop: The engine.
        trace: In the order of arrival.
        seconds: When to stop, whoever is not answered by then; no step starts that could end after,
            were it twice as long as the longest so far.
        clock: Of those seconds: real time, whatever the loop's own clock is.
    """
    served: list[Served | None] = [None] * len(trace)
    arrived, times, longest = 0, loop.clock(), 0.0
    end = clock() + seconds
    while None in served:
        begun = clock()
        if begun + MARGIN * longest > end:
            break
        now = times.now()
        while arrived < len(trace) and trace[arrived].seconds <= now:
            loop.waiting.append((arrived, trace[arrived]))
            arrived += 1
        if not (loop.waiting or loop.running or loop.prefilling):
            times.wait(min(trace[arrived].seconds - now, end - begun))
            continue
        planned = loop.step()
        loop.advance(planned, times.now(), served)
        longest = max(longest, clock() - begun)
    return served
