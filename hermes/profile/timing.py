"""Times of repeated calls: device events where there is a device, else the performance counter.

A processor that works with one thread is timed by that thread's own clock, which stands still while
other programs have the processor.

On a GPU a graph of several calls is replayed, as engines replay theirs, so that the host's launches
are not measured; what a graph cannot hold is timed between events one call at a time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from hermes.profile.bench import Kernel, UnsupportedError

__all__ = ["Timer", "captured", "host_times", "one_thread", "timer_of"]

Call = Callable[[], object]
Timer = Callable[[Kernel, float, int], tuple[list[float], str]]
"""Seconds of single calls within some time and a number of runs, and how they were taken."""

_FEWEST, _FEWEST_SLOW = 5, 3
_IN_A_GRAPH, _WARM_CALLS = 10, 3
_CACHES_OVERWRITTEN, _LEAST_CACHE = 2, 2**24
_LONG_S = 0.005
"""Calls of this length hide their launches by themselves."""


def timer_of(torch: Any, device: str, cache_bytes: int) -> Timer:
    """Return the timer of a device whose last cache holds *cache_bytes*."""
    if device.startswith("cuda"):
        device_timer = _DeviceTimer(torch, cache_bytes)
        return lambda kernel, seconds, most: (
            host_times(kernel, seconds, most)
            if kernel.host
            else device_timer.times(kernel, seconds, most)
        )
    alone = one_thread(torch, device)
    return lambda kernel, seconds, most: host_times(kernel, seconds, most, alone)


def one_thread(torch: Any, device: str) -> bool:
    """Return whether the thread's own clock counts all the work of a call."""
    return not device.startswith("cuda") and torch.get_num_threads() == 1


def host_times(
    kernel: Kernel, seconds: float, most: int, alone: bool = False
) -> tuple[list[float], str]:
    """Return the times of calls on the host, after one to warm up.

    Args:
        kernel: What to call.
        seconds: How long, about.
        most: Calls at most.
        alone: Whether the calling thread does all the work.
    """
    clock = time.thread_time if alone and not kernel.waits else time.perf_counter
    begun = time.perf_counter()
    kernel.call()
    end = time.perf_counter() + seconds
    fewest = _FEWEST if end - begun < 2 * seconds else _FEWEST_SLOW
    times: list[float] = []
    while len(times) < fewest or (len(times) < most and time.perf_counter() < end):
        begun = clock()
        kernel.call()
        times.append(clock() - begun)
    return times, "perf_counter" if clock is time.perf_counter else "thread_time"


def captured(torch: Any, stream: Any, call: Call) -> tuple[Any, Any]:
    """Return a CUDA graph of a call, and what the call returned: replays write there.

    Args:
        torch: The module.
        stream: Not the default one; *call* ran on it before, and nothing runs now.
        call: Waits for nothing.
    """
    graph = torch.cuda.CUDAGraph()
    # a capture that fails leaves its stream current: this is put right around it
    with torch.cuda.stream(stream), torch.cuda.graph(graph, stream=stream):
        found = call()
    return graph, found


class _DeviceTimer:
    """Times calls on the current CUDA device.

    Everything runs on one side stream: what is captured on a stream is warmed up on it first, since
    libraries make handles and work spaces for each stream, which no capture may do. Before every
    timed call the last cache is overwritten, and while that runs the host queues what comes after.
    """

    def __init__(self, torch: Any, cache_bytes: int) -> None:
        self._torch = torch
        self._stream = torch.cuda.Stream()
        size = _CACHES_OVERWRITTEN * max(cache_bytes, _LEAST_CACHE)
        self._cache = torch.empty(size, dtype=torch.uint8, device="cuda")

    def times(self, kernel: Kernel, seconds: float, most: int) -> tuple[list[float], str]:
        """Return the times of calls, as the device's own clock has them."""
        torch = self._torch
        outer = torch.cuda.current_stream()
        self._stream.wait_stream(outer)  # where inputs were made
        try:
            with torch.cuda.stream(self._stream):
                return self._on_stream(kernel, seconds, most)
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            raise UnsupportedError("out of device memory") from error
        finally:
            outer.wait_stream(self._stream)

    def _on_stream(self, kernel: Kernel, seconds: float, most: int) -> tuple[list[float], str]:
        torch = self._torch
        for _ in range(_WARM_CALLS):
            kernel.call()
        torch.cuda.synchronize()
        if kernel.capturable:
            count = _IN_A_GRAPH if self._batch(kernel.call, 1)[0] < _LONG_S else 1
            graph = self._captured(kernel.call, count)
            if graph is not None:
                found = self._between_events(graph.replay, seconds, most)
                return [each / count for each in found], f"cuda graph of {count}, events"
        return self._between_events(kernel.call, seconds, most), "cuda events"

    def _captured(self, call: Call, count: int) -> Any:
        """Return a graph of *count* calls, or None where the call cannot be captured."""
        torch = self._torch

        def several() -> None:
            for _ in range(count):
                call()

        try:
            graph, _ = captured(torch, self._stream, several)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            torch.cuda.synchronize()
            return None
        graph.replay()
        torch.cuda.synchronize()
        return graph

    def _between_events(self, call: Call, seconds: float, most: int) -> list[float]:
        first = self._batch(call, 1)[0]
        fewest = _FEWEST if first < seconds else _FEWEST_SLOW
        count = max(fewest, min(most, math.floor(seconds / max(first, 1e-6))))
        return self._batch(call, count)

    def _batch(self, call: Call, count: int) -> list[float]:
        torch = self._torch
        events = [
            (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
            for _ in range(count)
        ]
        for begin, end in events:
            self._cache.zero_()
            begin.record()
            call()
            end.record()
        torch.cuda.synchronize()
        return [begin.elapsed_time(end) * 1e-3 for begin, end in events]
