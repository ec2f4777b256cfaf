"""Devices: what the datasheet says of an accelerator, and what an hour of it costs.

Memory is the vendor's figure, whose gigabyte is 2^30 bytes for device memory; bandwidths are
decimal. Prices are the on-demand list prices of the large clouds, one instance divided by its
devices: defaults to be replaced by one's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from hermes.catalog.tables import aliases, optional_float, read_table
from hermes.errors import UnknownNameError

if TYPE_CHECKING:  # pydantic is a third of a start
    from hermes.scenario.device import DeviceSpec

__all__ = ["Device", "device_names", "find_device"]

_PEAK = "peak_tflops."


@dataclass(frozen=True, slots=True)
class Device:
    """One accelerator (or processor) that a replica is built of."""

    name: str
    vendor: str
    kind: str
    """gpu, tpu, asic or cpu."""
    peak_tflops: Mapping[str, float]
    """Dense peaks by data type; only what is known."""
    memory_gb: float
    memory_bandwidth_gb_per_s: float
    link_bandwidth_gb_per_s: float
    """Scale-up, one direction, all links together; 0 where there is none."""
    link_domain: int
    """Devices in one scale-up domain."""
    host_bandwidth_gb_per_s: float
    """To the host, one direction; 0 where not known."""
    power_w: float | None
    usd_per_hour: float | None
    price_source: str
    source: str
    confidence: str
    """V: seen in a vendor page, repository or search result. R: recalled."""
    usable_memory_fraction: float = 0.985
    """Share of the memory that the driver and error correction leave to programs."""
    cores: int = 0
    """Of a processor; 0 where not known, and for other kinds."""

    @property
    def memory_bytes(self) -> int:
        """Bytes of memory that a program can see."""
        return int(self.memory_gb * self.usable_memory_fraction * 2**30)


def device_names() -> tuple[str, ...]:
    """Return the catalog's devices, in its order."""
    return tuple(_catalog())


def find_device(name: str, own: Mapping[str, DeviceSpec] | None = None) -> Device:
    """Return the device called *name*, in any case or by an alias.

    Args:
        name: A name of the catalog, an alias such as `h100`, or a key of *own*.
        own: The user's own devices, which come before the catalog's.

    Raises:
        UnknownNameError: No device is called that.
    """
    own = own or {}
    if name in own:
        return _from_spec(name, own[name])
    found = _aliases().get(name.lower())
    if found is None:
        raise UnknownNameError.among("device", name, [*own, *device_names()])
    return _catalog()[found]


def _from_spec(name: str, spec: DeviceSpec) -> Device:
    """Return the device that a user's block describes."""
    return Device(
        name=name,
        vendor=spec.vendor,
        kind=spec.kind,
        peak_tflops={str(dtype): peak for dtype, peak in spec.peak_tflops.items()},
        memory_gb=spec.memory_gb,
        memory_bandwidth_gb_per_s=spec.memory_bandwidth_gb_per_s,
        link_bandwidth_gb_per_s=spec.link_bandwidth_gb_per_s,
        link_domain=spec.link_domain if spec.link_bandwidth_gb_per_s else 1,
        host_bandwidth_gb_per_s=spec.host_bandwidth_gb_per_s,
        power_w=spec.power_w,
        usd_per_hour=spec.usd_per_hour,
        price_source="the scenario" if spec.usd_per_hour is not None else "",
        source=spec.source,
        confidence="",
        usable_memory_fraction=spec.usable_memory_fraction,
        cores=spec.cores or 0,
    )


@cache
def _catalog() -> dict[str, Device]:
    """Return the packaged devices by name."""
    prices = {row["device"]: row for row in read_table("prices.csv")}
    return {
        row["name"]: _from_row(row, prices.get(row["name"])) for row in read_table("devices.csv")
    }


@cache
def _aliases() -> dict[str, str]:
    """Return the catalog's name for every lower-case name and alias."""
    rows = read_table("devices.csv")
    return {alias: row["name"] for row in rows for alias in (row["name"], *aliases(row))}


def _from_row(row: dict[str, str], price: dict[str, str] | None) -> Device:
    """Return the device of one row of the catalog."""
    peaks = {key.removeprefix(_PEAK): cell for key, cell in row.items() if key.startswith(_PEAK)}
    return Device(
        name=row["name"],
        vendor=row["vendor"],
        kind=row["kind"],
        peak_tflops={dtype: float(cell) for dtype, cell in peaks.items() if cell},
        memory_gb=float(row["memory_gb"]),
        memory_bandwidth_gb_per_s=float(row["memory_bandwidth_gb_per_s"]),
        link_bandwidth_gb_per_s=float(row["link_bandwidth_gb_per_s"]),
        link_domain=int(row["link_domain"]),
        host_bandwidth_gb_per_s=float(row["host_bandwidth_gb_per_s"]),
        power_w=optional_float(row["power_w"]),
        usd_per_hour=float(price["usd_per_hour"]) if price else None,
        price_source=f"{price['offer']}, {price['date']}: {price['source']}" if price else "",
        source=row["source"],
        confidence=row["confidence"],
        usable_memory_fraction=float(row["usable_memory_fraction"]),
        cores=int(row["cores"] or 0),
    )
