"""A flow: one transfer of bytes over a path of links."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hermes.sim.sharing import GRAINS, Lane, Share

__all__ = ["Flow", "Path"]


@dataclass(frozen=True, slots=True)
class Path:
    """Links in the order the bytes cross them.

    Attributes:
        lanes: The links.
        latency: Of all of them, in ticks.
        peak: Bandwidth of the narrowest, in grains a tick; None where all are infinite.
    """

    lanes: tuple[Lane, ...]
    latency: int
    peak: int | None


class Flow:
    """A transfer under way, or what became of it; made by `FlowNetwork.transfer`.

    Attributes:
        number: The order in which transfers were asked for.
        size_bytes: What there is to carry.
        weight: Share of a contended link, relative to other flows' weights.
        started: Tick at which it was asked for.
        alone: Tick at which it would be done if nobody else used its links.
        finished: Tick at which its last byte arrived; None before that, and if cancelled.
        cancelled: Whether it was cancelled.
    """

    __slots__ = (
        "alone",
        "cancelled",
        "end",
        "finished",
        "number",
        "on_done",
        "path",
        "peak",
        "sent",
        "share",
        "size_bytes",
        "started",
        "until",
        "weight",
        "widest",
    )

    def __init__(
        self,
        number: int,
        path: Path,
        size_bytes: int,
        on_done: Callable[[], None],
        weight: int,
        widest: int | None,
        started: int,
    ) -> None:
        self.number = number
        self.path = path
        self.size_bytes = size_bytes
        self.on_done = on_done
        self.weight = weight
        self.started = started
        self.alone = started
        self.finished: int | None = None
        self.cancelled = False
        self.widest = widest  # grains a tick at most; None: no bytes ever take time
        self.until: int | None = None  # tick up to which production bounds it
        self.peak = 0  # grains a tick at most, for now: less than `widest` while produced
        self.share: Share | None = None  # while bytes flow
        self.end = 0  # on the share's scale
        self.sent = 0  # grains, when it last left a share

    @property
    def ended(self) -> bool:
        """Whether it is over, one way or the other."""
        return self.cancelled or self.finished is not None

    @property
    def stall_ticks(self) -> int:
        """What sharing cost it: its duration less that of the same transfer alone."""
        return 0 if self.finished is None else self.finished - self.alone

    def bytes_sent(self, now: int) -> int:
        """Return the whole bytes sent by the tick `now`."""
        return self.grains_sent(now) // GRAINS

    def grains_sent(self, now: int) -> int:
        """Return what was sent by the tick `now`, exactly."""
        if self.share is None:
            return self.sent
        size = self.size_bytes * GRAINS
        return min(size, size - self.end + self.share.served_at(now))
