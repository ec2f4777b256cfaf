"""Copies inside the device's memory, and between it and pinned memory of the host."""

from __future__ import annotations

from hermes.profile.bench import Kernel, UnsupportedError
from hermes.profile.operators.operands import Operands
from hermes.profile.point import Point

__all__ = ["copy_kernels"]


def copy_kernels(point: Point, operands: Operands) -> list[Kernel]:
    """Return one copy of some bytes; source and target are others every call."""
    torch = operands.torch
    places = operands.cold(2, point["bytes"] // 2)
    if point.operator == "device_to_device":
        turn = 0

        def copy() -> None:
            nonlocal turn
            turn = (turn + 1) % len(places)
            places[turn][0].copy_(places[turn][1])

        return [Kernel("torch copy", copy)]
    if not operands.device.startswith("cuda"):
        raise UnsupportedError("the host is the device")
    host = torch.empty(point["bytes"] // 2, dtype=torch.bfloat16, pin_memory=True)
    there = places[0][0]
    if point.operator == "host_to_device":
        return [Kernel("pinned copy", lambda: there.copy_(host, non_blocking=True), False)]
    return [Kernel("pinned copy", lambda: host.copy_(there, non_blocking=True), False)]
