"""Watts and clocks of a GPU while a point is measured, through NVML; nothing is ever set."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Self

__all__ = ["PowerSampler", "driver_version"]

_PERIOD_S = 0.01


def _open() -> Any:
    """Return NVML's module, ready; None where there is none."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def driver_version() -> str:
    """Return the version of the GPU's driver, or an empty string."""
    nvml = _open()
    if nvml is None:
        return ""
    version = nvml.nvmlSystemGetDriverVersion()
    return version.decode() if isinstance(version, bytes) else str(version)


class PowerSampler:
    """Samples one GPU in a thread of its own; use it as a context.

    Watts are those of the moment where the driver tells them. Elsewhere it averages over up to a
    second, so that the watts of a point are those of the load around it too.
    """

    def __init__(self, uuid: str) -> None:
        """Prepare for the GPU that the driver calls *uuid*; without one nothing is sampled."""
        self._nvml = _open() if uuid else None
        self._uuid = uuid
        self._watts: list[float] = []
        self._clocks: list[float] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._watts, self._clocks = [], []
        if self._nvml is not None:
            self._stop = threading.Event()
            self._thread = threading.Thread(target=self._sample, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    @property
    def watts(self) -> float | None:
        """Mean power, or None where it cannot be read."""
        return sum(self._watts) / len(self._watts) if self._watts else None

    @property
    def clock_mhz(self) -> float | None:
        """Mean clock of the multiprocessors, or None."""
        return sum(self._clocks) / len(self._clocks) if self._clocks else None

    def _sample(self) -> None:
        nvml: Any = self._nvml
        try:
            handle = nvml.nvmlDeviceGetHandleByUUID(self._uuid)
            while True:
                self._watts.append(_watts(nvml, handle))
                clock = nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)
                self._clocks.append(float(clock))
                if self._stop.wait(_PERIOD_S):
                    return
        except nvml.NVMLError:
            return  # not every card tells


def _watts(nvml: Any, handle: Any) -> float:
    """Return the power of the moment, or what the driver averages where it tells no other."""
    field = getattr(nvml, "NVML_FI_DEV_POWER_INSTANT", None)
    if field is not None:
        (found,) = nvml.nvmlDeviceGetFieldValues(handle, [field])
        if found.nvmlReturn == nvml.NVML_SUCCESS and found.value.uiVal:
            return float(found.value.uiVal) / 1000
    return float(nvml.nvmlDeviceGetPowerUsage(handle)) / 1000
