"""The tiers below: reads of the host's memory and of the disk, by size."""

from __future__ import annotations

import os
from collections.abc import Callable

from hermes.profile.bench import Kernel
from hermes.profile.operators.operands import Operands
from hermes.profile.point import Point

__all__ = ["storage_kernels"]

_HOST_POOL = 2**28


def storage_kernels(point: Point, operands: Operands) -> list[Kernel]:
    """Return one read of some bytes, out of no cache."""
    size = point["bytes"]
    if point.operator == "host_read":
        return [Kernel("numpy copy of cold memory", _host_read(size, operands), False, host=True)]
    read = _disk_read(size, operands)
    return [Kernel("read, page cache dropped", read, False, waits=True, host=True)]


def _host_read(size: int, operands: Operands) -> Callable[[], object]:
    import numpy as np

    pool = operands.kept(("host pool",), lambda: np.ones(_HOST_POOL, np.uint8))
    target = np.empty(size, np.uint8)
    turn = 0

    def read() -> None:
        nonlocal turn
        turn = (turn + size) % (_HOST_POOL - size + 1)
        np.copyto(target, pool[turn : turn + size])

    return read


def _disk_read(size: int, operands: Operands) -> Callable[[], object]:
    """Return a read of a file that lies on the disk; the pages are dropped after each."""
    path = operands.folder / "disk-read.tmp"
    buffer = bytearray(size)
    if not path.exists() or path.stat().st_size < size:
        with path.open("wb") as file:
            file.write(os.urandom(size))
            file.flush()
            os.fsync(file.fileno())

    def read() -> None:
        with path.open("rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            filled, view = 0, memoryview(buffer)
            while filled < size:
                filled += file.readinto(view[filled:]) or size

    return read
