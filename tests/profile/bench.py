"""A bench that makes times up, by a roofline of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hermes.profile.bench import UnsupportedError
from hermes.profile.physics import Peaks
from hermes.profile.point import Measurement, Point, measure

PEAKS = Peaks({"bf16": 1e12}, 1e11)


class FakeBench:
    """Takes as long as a point needs at 0.5 of the peaks, and 5 us."""

    def __init__(self, odd: Callable[[Point], float | None] = lambda _: None) -> None:
        self.about: dict[str, Any] = {"device": "fake"}
        self.seen: list[str] = []
        self._odd = odd

    def peaks(self) -> Peaks:
        return PEAKS

    def run(self, point: Point) -> Measurement:
        self.seen.append(point.key)
        seconds = self._odd(point)
        if seconds is None:
            seconds = 5e-6 + 2 * PEAKS.least_seconds(point)
        if seconds < 0:
            raise UnsupportedError("no such kernel")
        return measure([seconds], "fake kernel", "made up")
