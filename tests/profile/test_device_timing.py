"""The device's side of timing, power and clocks, on stand-ins for CUDA and NVML."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from hermes.profile.bench import Kernel, UnsupportedError
from hermes.profile.point import measure
from hermes.profile.power import PowerSampler, driver_version
from hermes.profile.timing import host_times, timer_of


class Device:
    """A device on which every call takes 2 ms and a graph replays what it captured."""

    def __init__(self, capturable: bool = True) -> None:
        self.now_ms = 0.0
        self.calls = 0
        self.capturable = capturable
        self.recording: list[Any] | None = None

    def launch(self) -> None:
        self.calls += 1
        if self.recording is not None:
            self.recording.append(2.0)
        else:
            self.now_ms += 2.0

    def torch(self) -> Any:
        device = self

        class Event:
            def __init__(self, enable_timing: bool) -> None:
                assert enable_timing

            def record(self) -> None:
                self.at = device.now_ms

            def elapsed_time(self, end: Any) -> float:
                return end.at - self.at

        class Graph:
            held: list[float]

            def replay(self) -> None:
                device.now_ms += sum(self.held)

        @contextmanager
        def graph(into: Graph):
            if not device.capturable:
                raise RuntimeError("operation not permitted when stream is capturing")
            device.recording = into.held = []
            yield
            device.recording = None

        cuda = SimpleNamespace(
            Event=Event,
            CUDAGraph=Graph,
            graph=graph,
            synchronize=lambda: None,
            empty_cache=lambda: None,
        )
        return SimpleNamespace(cuda=cuda, OutOfMemoryError=MemoryError)


def test_calls_are_replayed_in_a_graph_and_divided():
    device = Device()
    times, method = timer_of(device.torch(), "cuda:0")(Kernel("k", device.launch), 0.1, 30)
    assert measure(times).seconds == pytest.approx(2e-3)
    assert method == "cuda graph of 10, events"
    assert len(times) == 5  # 0.1 s of 20 ms each
    assert device.calls == 3 + 1 + 10  # warmed up, tried, captured


@pytest.mark.parametrize("capturable", [True, False])
def test_what_a_graph_cannot_hold_is_timed_between_events(capturable):
    device = Device(capturable=False)
    kernel = Kernel("k", device.launch, capturable)
    times, method = timer_of(device.torch(), "cuda:0")(kernel, 0.1, 30)
    assert method == "cuda events"
    assert times == pytest.approx([2e-3] * 30)


def test_memory_that_runs_out_is_said_of_the_point():
    def call() -> None:
        raise MemoryError

    with pytest.raises(UnsupportedError, match="out of device memory"):
        timer_of(Device().torch(), "cuda:0")(Kernel("k", call), 0.1, 30)


def test_the_host_is_timed_by_its_own_clock_where_nothing_waits():
    calls: list[int] = []
    kernel = Kernel("k", lambda: calls.append(1))
    assert host_times(kernel, 0.001, 7, alone=True)[1] == "thread_time"
    assert host_times(kernel._replace(waits=True), 0.0, 7, alone=True)[1] == "perf_counter"
    times, method = host_times(kernel, 10.0, 7)
    assert (len(times), method) == (7, "perf_counter")


@pytest.fixture
def nvml(monkeypatch) -> Any:
    module: Any = ModuleType("pynvml")
    module.NVMLError = type("NVMLError", (Exception,), {})
    module.NVML_CLOCK_SM = 1
    module.nvmlInit = lambda: None
    module.nvmlSystemGetDriverVersion = lambda: "580.1"
    module.nvmlDeviceGetHandleByIndex = lambda index: index
    module.nvmlDeviceGetPowerUsage = lambda handle: 650_000
    module.nvmlDeviceGetClockInfo = lambda handle, kind: 1980
    monkeypatch.setitem(sys.modules, "pynvml", module)
    return module


def test_power_and_clock_are_read_while_a_point_runs(nvml):
    assert driver_version() == "580.1"
    with PowerSampler(enabled=True) as power:
        pass
    assert (power.watts, power.clock_mhz) == (650, 1980)


def test_a_card_that_does_not_tell_its_power_gives_none(nvml):
    def refuse(handle: Any) -> None:
        raise nvml.NVMLError

    nvml.nvmlDeviceGetPowerUsage = refuse
    with PowerSampler(enabled=True) as power:
        pass
    assert (power.watts, power.clock_mhz) == (None, None)


def test_without_nvml_there_is_neither(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert driver_version() == ""
    with PowerSampler(enabled=True) as power:
        pass
    assert power.watts is None
