"""The device's side of timing, power and clocks, on stand-ins for CUDA and NVML."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from hermes.errors import InputError
from hermes.profile.bench import Kernel, UnsupportedError
from hermes.profile.budget import Family
from hermes.profile.journal import Journal
from hermes.profile.point import point
from hermes.profile.power import PowerSampler, driver_version
from hermes.profile.progress import open_progress
from hermes.profile.session import run_session
from hermes.profile.timing import captured, host_times, timer_of
from tests.profile.bench import PEAKS
from tests.profile.cuda import Device

CACHE = 50 * 2**20


def timed(device: Device, capturable: bool = True) -> tuple[list[float], str]:
    timer = timer_of(device.torch(), "cuda:0", CACHE)
    return timer(Kernel("k", device.launch, capturable), 0.1, 30)


def test_calls_are_replayed_in_a_graph_and_divided():
    device = Device()
    times, method = timed(device)
    assert times == pytest.approx([2e-3] * 5)  # 0.1 s of 20 ms each
    assert method == "cuda graph of 10, events"
    assert device.calls == 3 + 1 + 10  # warmed up, tried, captured


def test_a_long_call_is_alone_in_its_graph():
    device = Device(call_ms=8.0)
    times, method = timed(device)
    assert times == pytest.approx([8e-3] * 12)
    assert method == "cuda graph of 1, events"


def test_the_last_cache_is_overwritten_before_every_timed_call_and_outside_of_its_time():
    device = Device()
    timed(device)
    assert device.flushed_bytes == 2 * CACHE
    assert device.log[:3] == ["call"] * 3
    assert device.log[3:7] == ["flush", "event", "call", "event"]
    assert device.log[7:9] == ["capture", "replay"]
    assert device.log[9:] == ["flush", "event", "replay", "event"] * (1 + 5)


@pytest.mark.parametrize("capturable", [True, False])
def test_what_a_graph_cannot_hold_is_timed_between_events(capturable):
    device = Device(capturable=False)
    times, method = timed(device, capturable)
    assert method == "cuda events"
    assert times == pytest.approx([2e-3] * 30)


@pytest.mark.parametrize("capturable", [True, False])
def test_the_stream_that_was_current_is_current_again(capturable):
    device = Device(capturable=capturable)
    timed(device)
    assert device.current is device.default


def test_a_capture_that_fails_says_so_and_leaves_the_stream_as_it_was():
    device = Device(capturable=False)
    torch = device.torch()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        device.launch()
    torch.cuda.synchronize()
    with pytest.raises(RuntimeError, match="previous error during capture"):
        captured(torch, stream, device.launch)
    assert device.current is device.default


def test_memory_that_runs_out_is_said_of_the_point():
    def call() -> None:
        raise MemoryError

    device = Device()
    with pytest.raises(UnsupportedError, match="out of device memory"):
        timer_of(device.torch(), "cuda:0", CACHE)(Kernel("k", call), 0.1, 30)
    assert device.current is device.default


def test_what_the_host_does_is_timed_by_the_host_where_there_is_a_gpu_too(tmp_path):
    device = Device()
    timer = timer_of(device.torch(), "cuda:0", CACHE)
    times, method = timer(Kernel("read", lambda: None, False, host=True), 10.0, 7)
    assert (len(times), method, device.log) == (7, "perf_counter", [])
    pytest.importorskip("torch", reason="PyTorch is not installed (the extra [profile])")
    from hermes.profile.operators import kernels_of
    from hermes.profile.operators.operands import Operands

    for name in ("host_read", "disk_read"):
        each = point(name, "int8", bytes=2**12)
        (kernel,) = kernels_of(each, Operands("cpu", 2**20, tmp_path))
        assert kernel.host


def test_the_host_is_timed_by_its_own_clock_where_nothing_waits():
    calls: list[int] = []
    kernel = Kernel("k", lambda: calls.append(1))
    assert host_times(kernel, 0.001, 7, alone=True)[1] == "thread_time"
    assert host_times(kernel._replace(waits=True), 0.0, 7, alone=True)[1] == "perf_counter"
    times, method = host_times(kernel, 10.0, 7)
    assert (len(times), method) == (7, "perf_counter")


@pytest.fixture
def nvml(monkeypatch) -> Any:
    """NVML with one GPU, which is not the first it numbers; it has nothing that sets anything."""

    def by_uuid(uuid: str) -> str:
        if uuid != "GPU-2":
            raise module.NVMLError
        return uuid

    def fields(handle: str, wanted: list[int]) -> list[Any]:
        assert (handle, wanted) == ("GPU-2", [186])
        return [SimpleNamespace(nvmlReturn=0, value=SimpleNamespace(uiVal=702_000))]

    module: Any = ModuleType("pynvml")
    module.NVMLError = type("NVMLError", (Exception,), {})
    module.NVML_CLOCK_SM, module.NVML_SUCCESS = 1, 0
    module.NVML_FI_DEV_POWER_INSTANT = 186
    module.nvmlInit = lambda: None
    module.nvmlSystemGetDriverVersion = lambda: "580.1"
    module.nvmlDeviceGetHandleByUUID = by_uuid
    module.nvmlDeviceGetFieldValues = fields
    module.nvmlDeviceGetPowerUsage = lambda handle: 650_000
    module.nvmlDeviceGetClockInfo = lambda handle, kind: 1980
    monkeypatch.setitem(sys.modules, "pynvml", module)
    return module


def sampled(uuid: str = "GPU-2") -> tuple[float | None, float | None]:
    with PowerSampler(uuid) as power:
        pass
    return power.watts, power.clock_mhz


def test_power_of_the_moment_and_clock_are_read_while_a_point_runs(nvml):
    assert driver_version() == "580.1"
    assert sampled() == (702, 1980)


def test_where_the_driver_tells_no_power_of_the_moment_its_average_is_taken(nvml):
    refused = SimpleNamespace(nvmlReturn=3, value=SimpleNamespace(uiVal=0))
    nvml.nvmlDeviceGetFieldValues = lambda *_: [refused]
    assert sampled() == (650, 1980)
    del nvml.NVML_FI_DEV_POWER_INSTANT  # an old module
    assert sampled() == (650, 1980)


def test_another_gpu_s_power_is_not_taken_for_the_measured_one_s(nvml):
    assert sampled("GPU-7") == (None, None)
    assert sampled("") == (None, None)


def test_a_card_that_does_not_tell_its_power_gives_none(nvml):
    def refuse(*_: Any) -> None:
        raise nvml.NVMLError

    nvml.nvmlDeviceGetFieldValues = refuse
    assert sampled() == (None, None)


def test_without_nvml_there_is_neither(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert driver_version() == ""
    assert sampled() == (None, None)


def test_the_stand_in_names_what_nvml_has():
    pynvml = pytest.importorskip("pynvml", reason="NVML is not installed (the extra [profile])")
    assert (pynvml.NVML_FI_DEV_POWER_INSTANT, pynvml.NVML_CLOCK_SM) == (186, 1)
    for name in ("HandleByUUID", "FieldValues", "PowerUsage", "ClockInfo"):
        assert hasattr(pynvml, f"nvmlDeviceGet{name}")
    assert {"nvmlReturn", "value"} <= {name for name, _ in pynvml.c_nvmlFieldValue_t._fields_}
    assert "uiVal" in {name for name, _ in pynvml.c_nvmlValue_t._fields_}


class TestLost:
    """A fault that only a new process clears ends the session; one of a call is the call's."""

    def bench(self, tmp_path, device: Device) -> Any:
        pytest.importorskip("torch", reason="PyTorch is not installed (the extra [profile])")
        from hermes.profile.machine import find_machine
        from hermes.profile.torch_bench import TorchBench

        bench = TorchBench(find_machine("cpu"), None, {}, tmp_path, 0.0)
        bench._machine = replace(bench._machine, torch_device="cuda:0")
        bench._torch = device.torch()
        return bench

    def test_a_call_that_fails_is_said_of_its_point(self, tmp_path):
        with pytest.raises(UnsupportedError, match="no kernel multiplies int3"):
            self.bench(tmp_path, Device()).run(point("linear", "int3", tokens=1, n=1, k=1))

    def test_a_device_that_answers_no_more_ends_the_session(self, tmp_path):
        device = Device()
        bench = self.bench(tmp_path, device)

        def fault(*_: Any) -> None:
            device.lost = "CUDA error: an illegal memory access was encountered\nmore"
            raise RuntimeError(device.lost)

        bench._probed, bench._timer = PEAKS, fault
        points = [point("norm", "bf16", tokens=n, width=2) for n in (1, 2, 3)]
        journal = Journal(tmp_path / "points.jsonl", {}, False)
        outcome = run_session(
            bench, [Family("f", 1.0, points)], journal, 1e9, open_progress(quiet=True)
        )
        assert outcome.lost == "CUDA error: an illegal memory access was encountered"
        assert (outcome.failed, outcome.left) == (1, 2)
        again = Journal(tmp_path / "points.jsonl", {}, True)
        assert again.finished == (points[0].key,)  # what broke it is not tried again

    def test_a_device_that_cannot_be_probed_is_said(self, tmp_path, monkeypatch):
        bench = self.bench(tmp_path, device := Device())
        device.lost = "CUDA error: no kernel image is available"
        bench._timer = lambda *_: (_ for _ in ()).throw(RuntimeError(device.lost))
        with pytest.raises(InputError, match="--device: cannot be probed: CUDA error: no kernel"):
            bench.peaks()
