"""Whether an index fits the memory of the device that searches it."""

from __future__ import annotations

from math import ceil

from hermes.catalog import Device
from hermes.catalog.indexes import Index
from hermes.errors import InfeasibleError

__all__ = ["check_index_fits"]


def check_index_fits(
    index: Index, device: Device, devices: int = 1, reserved_bytes: int = 0, field: str = "index"
) -> int:
    """Return the bytes left in one device's memory once *devices* hold the index in equal shares.

    Args:
        index: What is searched.
        device: One of those that hold it.
        devices: How many do.
        reserved_bytes: Taken from every device for other things.
        field: Named in the error.

    Raises:
        InfeasibleError: It does not fit; says what is needed, what there is, and how many devices
            would do.
    """
    available = device.memory_bytes - reserved_bytes
    share = ceil(index.size_bytes / devices)
    if share <= available:
        return available - share
    enough = ceil(index.size_bytes / available) if available > 0 else 0
    remedy = f"{enough} would hold it" if enough else "nothing is left of it"
    raise InfeasibleError(
        f"{index.name} needs {share / 1e9:.1f} GB of each {device.name} at {devices}, which has"
        f" {max(0, available) / 1e9:.1f} GB; {remedy}",
        field,
    )
