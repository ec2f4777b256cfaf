"""Links: what bytes move over, be it a network port, a PCIe slot or a memory bus.

One direction of a full-duplex port is one link; a memory bus, which reads and writes share, is one
link for both.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from hermes.errors import InputError
from hermes.scenario.units import TICKS_PER_MILLISECOND, TICKS_PER_SECOND

__all__ = ["Link", "LinkUse", "link_facts"]


@dataclass(frozen=True, slots=True)
class Link:
    """One direction of an edge between two places.

    Attributes:
        name: What paths call it.
        bytes_per_second: Bandwidth that the flows over it share; `math.inf` where none is
            reckoned with, as inside a non-blocking network.
        latency: Ticks before the first byte is through.
    """

    name: str
    bytes_per_second: float
    latency: int = 0

    def __post_init__(self) -> None:
        if not self.bytes_per_second > 0:
            raise InputError(
                f"link {self.name!r}: a link needs a bandwidth above 0, "
                f"got {self.bytes_per_second} bytes/s"
            )
        if self.latency < 0:
            raise InputError(f"link {self.name!r}: negative latency, {self.latency} ticks")


@dataclass(frozen=True, slots=True)
class LinkUse:
    """What a link has carried.

    Attributes:
        link: The link.
        transfers: Transfers that are over, completed or cancelled.
        bytes: Whole bytes carried, those of transfers under way included.
        busy_ticks: Time with at least one byte under way.
        stall_ticks: Summed over the completed transfers that crossed it, what each lost to
            sharing, here or on another link of its path.
    """

    link: Link
    transfers: int
    bytes: int
    busy_ticks: int
    stall_ticks: int

    @property
    def full_ticks(self) -> float:
        """Utilisation integrated over time: the ticks these bytes take at full bandwidth."""
        if math.isinf(self.link.bytes_per_second):
            return 0.0
        return self.bytes * TICKS_PER_SECOND / self.link.bytes_per_second

    def utilisation(self, ticks: int) -> float:
        """Return the mean utilisation over *ticks* from the start, 0 to 1."""
        return self.full_ticks / ticks if ticks else 0.0


def link_facts(uses: Iterable[LinkUse], seconds: float) -> dict[str, dict[str, float | None]]:
    """Return what the links that carried anything did in so many seconds, the busiest first.

    `utilization` is what was carried as a share of what could have been, None where that is without
    limit; `busy` the share of time with bytes under way; `stall_ms` what transfers lost to sharing.
    """
    found = {
        use.link.name: {
            "transfers": use.transfers,
            "gb": use.bytes / 1e9,
            "utilization": None
            if math.isinf(use.link.bytes_per_second) or seconds <= 0
            else use.bytes / (use.link.bytes_per_second * seconds),
            "busy": use.busy_ticks / TICKS_PER_SECOND / seconds if seconds > 0 else None,
            "stall_ms": use.stall_ticks / TICKS_PER_MILLISECOND,
        }
        for use in uses
        if use.transfers
    }
    return dict(sorted(found.items(), key=lambda item: -(item[1]["utilization"] or 0.0)))
