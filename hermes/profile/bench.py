"""What measures a point: the interface between a session and a device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from hermes.profile.physics import Peaks
from hermes.profile.point import Measurement, Point

__all__ = ["Bench", "DeviceLostError", "Kernel", "UnsupportedError"]


class UnsupportedError(Exception):
    """The device, or the software on it, cannot run a point; says why."""


class DeviceLostError(Exception):
    """The device answers no more: a fault that only a new process can clear; says which."""


class Kernel(NamedTuple):
    """A call that is ready to be timed."""

    name: str
    call: Callable[[], object]
    """Runs the operator once, on inputs that the caches do not hold."""
    capturable: bool = True
    """Whether a CUDA graph can hold it."""
    waits: bool = False
    """Whether it waits for something other than the processor."""
    host: bool = False
    """Whether the host does it, whatever the device is."""


class Bench(Protocol):
    """A device that points are measured on."""

    @property
    def about(self) -> Mapping[str, Any]:
        """Device, driver and software, for the record."""

    def peaks(self) -> Peaks:
        """Return what the device can do at most: from its datasheet, else measured."""

    def run(self, point: Point) -> Measurement:
        """Measure a point.

        Raises:
            UnsupportedError: It cannot run here.
            DeviceLostError: Nothing can run here any more.
        """
