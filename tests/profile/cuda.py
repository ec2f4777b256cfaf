"""A stand-in for PyTorch's CUDA: streams, events and graphs with CUDA's rules, on a made-up clock.

It refuses what CUDA refuses: to capture on the default stream, on a stream nothing ran on before or
twice at once, to wait for the device inside a capture, to read an event that was not waited for, to
use on one stream what another made without waiting for it. Like PyTorch's, a capture that fails
leaves its stream current.
"""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any


class Stream:
    def __init__(self, device: Device) -> None:
        self.device, self.used, self.waited = device, 0, False

    def wait_stream(self, other: Stream) -> None:
        assert other is not self
        self.waited = True


class Device:
    """Calls take a while; the first of its kind on a stream takes long, as libraries are loaded."""

    def __init__(self, call_ms: float = 2.0, capturable: bool = True) -> None:
        self.call_ms, self.capturable = call_ms, capturable
        self.now_ms, self.synced_ms = 0.0, 0.0
        self.calls = 0
        self.log: list[str] = []
        self.default = self.current = Stream(self)
        self.capturing: list[float] | None = None
        self.cold = True
        self.lost = ""

    def launch(self) -> None:
        """Run or record the kernel that is measured."""
        assert self.current is self.default or self.current.waited, "inputs were not waited for"
        self.calls += 1
        if self.capturing is not None:
            if not self.capturable:
                raise RuntimeError("operation not permitted when stream is capturing")
            self.capturing.append(self.call_ms)
            return
        self.current.used += 1
        self.log.append("call")
        self._pass(self.call_ms + (100.0 if self.current.used == 1 else 0.0))

    def _pass(self, kernel_ms: float) -> None:
        self.now_ms += kernel_ms if self.cold else kernel_ms / 2
        self.cold = False

    def torch(self) -> Any:
        """Return what stands for the module."""
        device = self

        class Event:
            at = None

            def __init__(self, enable_timing: bool) -> None:
                assert enable_timing

            def record(self) -> None:
                assert device.capturing is None
                self.at = device.now_ms
                device.log.append("event")

            def elapsed_time(self, end: Event) -> float:
                assert end.at <= device.synced_ms, "read before the device was waited for"
                return end.at - self.at

        class Graph:
            held: list[float] | None = None

            def replay(self) -> None:
                assert self.held, "an empty graph"
                assert device.capturing is None
                device.log.append("replay")
                for each in self.held:
                    device.cold = True  # other operands every call
                    device._pass(each)

        class Capture:
            def __init__(self, graph: Graph, stream: Stream | None = None) -> None:
                self.graph = graph
                self.stream = stream or Stream(device)

            def __enter__(self) -> None:
                assert device.capturing is None
                assert self.stream is not device.default, "capture on the default stream"
                assert self.stream.used > 0, "capture on a stream that was not warmed up"
                assert device.synced_ms == device.now_ms, "capture while the device works"
                device.log.append("capture")
                self.before, device.current = device.current, self.stream
                device.capturing = self.graph.held = []

            def __exit__(self, kind: Any, *rest: Any) -> None:
                device.capturing = None
                if kind is not None:
                    raise RuntimeError("operation failed due to a previous error during capture")
                device.current = self.before

        @contextmanager
        def stream(each: Stream):
            before, device.current = device.current, each
            try:
                yield
            finally:
                device.current = before

        def synchronize() -> None:
            if device.lost:
                raise RuntimeError(device.lost)
            assert device.capturing is None
            device.synced_ms = device.now_ms

        def zero() -> None:
            assert device.capturing is None
            device.log.append("flush")
            device.now_ms += 0.5
            device.cold = True

        def empty(size: int, **about: Any) -> Any:
            device.flushed_bytes = size
            return SimpleNamespace(zero_=zero)

        cuda = SimpleNamespace(
            Event=Event,
            CUDAGraph=Graph,
            Stream=lambda: Stream(device),
            graph=Capture,
            stream=stream,
            current_stream=lambda: device.current,
            synchronize=synchronize,
            empty_cache=lambda: None,
        )
        return SimpleNamespace(cuda=cuda, OutOfMemoryError=MemoryError, empty=empty, uint8="uint8")
