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

__all__ = ["Timer", "host_times", "one_thread", "timer_of"]

Call = Callable[[], object]
Timer = Callable[[Kernel, float, int], tuple[list[float], str]]
"""Seconds of single calls within some time and a number of runs, and how they were taken."""

_FEWEST, _FEWEST_SLOW = 5, 3
_IN_A_GRAPH = 10
_LONG_S = 0.005
"""Calls of this length hide their launches by themselves."""


def timer_of(torch: Any, device: str) -> Timer:
    """Return the timer of a device."""
    if device.startswith("cuda"):
        return _DeviceTimer(torch).times
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


class _DeviceTimer:
    """Times calls on the current CUDA device."""

    def __init__(self, torch: Any) -> None:
        self._torch = torch

    def times(self, kernel: Kernel, seconds: float, most: int) -> tuple[list[float], str]:
        """Return the times of calls, as the device's own clock has them."""
        torch = self._torch
        try:
            for _ in range(3):
                kernel.call()
            torch.cuda.synchronize()
            if kernel.capturable:
                count = _IN_A_GRAPH if self._batch(kernel.call, 1)[0] < _LONG_S else 1
                graph = self._captured(kernel.call, count)
                if graph is not None:
                    found = self._between_events(graph.replay, seconds, most)
                    return [each / count for each in found], f"cuda graph of {count}, events"
            return self._between_events(kernel.call, seconds, most), "cuda events"
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            raise UnsupportedError("out of device memory") from error

    def _captured(self, call: Call, count: int) -> Any:
        """Return a graph of *count* calls, or None where the call cannot be captured."""
        torch = self._torch
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                for _ in range(count):
                    call()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            torch.cuda.synchronize()
            return None
        graph.replay()
        torch.cuda.synchronize()
        return graph

    def _between_events(self, call: Call, seconds: float, most: int) -> list[float]:
        torch = self._torch
        first = self._batch(call, 1)[0]
        fewest = _FEWEST if first < seconds else _FEWEST_SLOW
        count = max(fewest, min(most, math.floor(seconds / max(first, 1e-6))))
        times = self._batch(call, count)
        torch.cuda.synchronize()
        return times

    def _batch(self, call: Call, count: int) -> list[float]:
        torch = self._torch
        events = [
            (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
            for _ in range(count)
        ]
        for begin, end in events:
            begin.record()
            call()
            end.record()
        torch.cuda.synchronize()
        return [begin.elapsed_time(end) * 1e-3 for begin, end in events]
