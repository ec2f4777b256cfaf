"""The bench that PyTorch makes of a device: operators run, timed, the fastest kernel kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from hermes.catalog import Device
from hermes.errors import InputError
from hermes.profile.bench import DeviceLostError, Kernel, UnsupportedError
from hermes.profile.machine import Machine
from hermes.profile.operators import kernels_of
from hermes.profile.operators.operands import Operands
from hermes.profile.physics import PROBE_TOLERANCE, Peaks
from hermes.profile.point import Measurement, Point, measure, point
from hermes.profile.power import PowerSampler
from hermes.profile.timing import timer_of

__all__ = ["TorchBench"]

_POOL_OF_CACHE = 4
_LEAST_POOL, _MOST_POOL = 2**27, 2**33
_MOST_RUNS = 30
_TRIAL_S = 0.005
_PROBE = {"gpu": 8192, "cpu": 1024}


class TorchBench:
    """One device; see `Bench`."""

    def __init__(
        self,
        machine: Machine,
        device: Device | None,
        about: Mapping[str, Any],
        folder: Path,
        point_seconds: float,
    ) -> None:
        """Prepare the device.

        Args:
            machine: Where it is.
            device: The catalog's, which has its peaks; None where they must be measured.
            about: For the record.
            folder: Where files to read may be written.
            point_seconds: How long calls of a point are repeated.
        """
        import torch

        self._torch = torch
        self.about = about
        self._machine = machine
        self._device = device
        self._seconds = point_seconds
        self._inference: Callable[[], AbstractContextManager[None]] = torch.inference_mode
        self._timer = timer_of(torch, machine.torch_device, machine.cache_bytes)
        self._power = PowerSampler(machine.uuid)
        pool = max(_LEAST_POOL, min(_MOST_POOL, _POOL_OF_CACHE * machine.cache_bytes))
        if machine.kind == "gpu":
            pool = max(pool, min(_MOST_POOL, machine.memory_bytes // 16))
        self._probed: Peaks | None = None
        self.operands = Operands(machine.torch_device, pool, folder)

    def peaks(self) -> Peaks:
        """Return the datasheet's peaks, or those of a large product and a large copy.

        Raises:
            InputError: The device can do neither.
        """
        device = self._device
        if device is not None:
            flops = {name: 1e12 * peak for name, peak in device.peak_tflops.items()}
            host = 1e9 * device.host_bandwidth_gb_per_s
            return Peaks(flops, 1e9 * device.memory_bandwidth_gb_per_s, host)
        if self._probed is None:
            try:
                self._probed = self._probe()
            except (DeviceLostError, UnsupportedError) as error:
                raise InputError(f"cannot be probed: {error}", "--device") from error
        return self._probed

    def _probe(self) -> Peaks:
        side, size = _PROBE[self._machine.kind], 2**25
        square = point("linear", "bf16", tokens=side, n=side, k=side)
        copied = point("device_to_device", "int8", bytes=size)
        probed = Peaks({"bf16": 1.0}, 1.0, 0.0, PROBE_TOLERANCE, "probe of the device")
        for each, work, moved in ((square, 2.0 * side**3, 0.0), (copied, 0.0, 2.0 * size)):
            best = min(self._times(each)[0])
            probed = probed.raised(Point(each.operator, "bf16", (), work, moved), best)
        return probed

    def run(self, point: Point) -> Measurement:
        """Measure a point; see `Bench`."""
        with self._power as power:
            times, kernel, method = self._times(point)
        return measure(times, kernel.name, method, power.clock_mhz, power.watts)

    def time(self, kernel: Kernel, seconds: float) -> Measurement:
        """Measure a call that is no operator of the table, such as a whole step.

        Raises:
            UnsupportedError: It cannot run here.
        """
        try:
            with self._inference():
                times, method = self._timer(kernel, seconds, _MOST_RUNS)
        except RuntimeError as error:
            self._check_alive()
            raise UnsupportedError(str(error).partition("\n")[0]) from error
        return measure(times, kernel.name, method)

    def _times(self, point: Point) -> tuple[list[float], Kernel, str]:
        with self._inference():
            try:
                kernels = kernels_of(point, self.operands)
                kernel = self._fastest(kernels)
                times, method = self._timer(kernel, self._seconds, _MOST_RUNS)
            except (RuntimeError, NotImplementedError, AttributeError, MemoryError) as error:
                # what a version of PyTorch or a device lacks shows in many ways
                self._check_alive()
                lines = str(error).splitlines()
                raise UnsupportedError(lines[0] if lines else type(error).__name__) from error
        return times, kernel, method

    def _check_alive(self) -> None:
        """Raise where a fault left the device useless: all that follows would fail alike."""
        if self._machine.kind != "gpu":
            return
        try:
            self._torch.cuda.synchronize()
        except RuntimeError as error:
            raise DeviceLostError(str(error).partition("\n")[0]) from error

    def _fastest(self, kernels: list[Kernel]) -> Kernel:
        """Return the fastest of those that run at all."""
        if len(kernels) == 1:
            return kernels[0]
        tried: list[tuple[float, int]] = []
        problem: Exception | None = None
        for index, kernel in enumerate(kernels):
            try:
                times, _ = self._timer(kernel, _TRIAL_S, 2)
            except (RuntimeError, NotImplementedError) as error:
                problem = error
                continue
            tried.append((sorted(times)[len(times) // 2], index))
        if not tried:
            raise UnsupportedError(f"no kernel runs it: {str(problem).splitlines()[0]}")
        return kernels[min(tried)[1]]
