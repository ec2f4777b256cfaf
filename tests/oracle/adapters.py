"""The reference with LoRA adapters: lists walked from the front, as vLLM's scheduler walks them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, SupportsIndex

from tests.oracle.reference import ReferenceReplica, Request


class PassingOver(list[Request]):
    """The waiting requests; the first of them is the first that fits."""

    def __init__(self, fits: Callable[[Request], bool]) -> None:
        super().__init__()
        self.fits = fits

    def __getitem__(self, index: Any) -> Any:
        if index != 0:
            raise NotImplementedError("the reference asks for the head only")
        return next(request for request in self if self.fits(request))

    def __bool__(self) -> bool:
        return any(self.fits(request) for request in self)

    def insert(self, index: SupportsIndex, request: Request) -> None:
        super().insert(index, request)


class AdapterReplica(ReferenceReplica):
    """A replica whose requests use adapters.

    `load_ticks` is given how many are copied to the devices, and how many of them come from the
    store; `overhead_ticks` the tokens with adapters in a step, and how many different there are.
    """

    def __init__(
        self,
        *args: Any,
        adapters: tuple[int, ...],
        max_loras: int,
        max_cpu_loras: int,
        load_ticks: Callable[[int, int], int],
        overhead_ticks: Callable[[int, int], int],
    ) -> None:
        super().__init__(*args)
        self.adapters = adapters
        self.max_loras = max_loras
        self.max_cpu_loras = max_cpu_loras
        self.load_ticks = load_ticks
        self.overhead_ticks = overhead_ticks
        self.waiting = PassingOver(self.fits)
        self.slots_used: list[int] = []  # least recently used first
        self.host: list[int] = []
        self.loads = 0

    def adapter(self, request: Request) -> int:
        return self.adapters[request.id]

    def in_use(self) -> list[int]:
        """The adapters of the running requests, by when they came into use."""
        used = [self.adapter(request) for request in self.running]
        return [a for a in dict.fromkeys(used) if a >= 0]

    def fits(self, request: Request) -> bool:
        used, wanted = self.in_use(), self.adapter(request)
        return wanted < 0 or wanted in used or len(used) < self.max_loras

    @property
    def has_work(self) -> bool:
        return bool(self.running) or len(self.waiting) > 0

    def begin(self, now: int) -> None:
        super().begin(now)
        if not self.batch:
            return
        loaded, stored = self.bring(self.in_use())
        self.loads += loaded
        with_adapters = [(r, n) for r, n in self.batch if self.adapter(r) >= 0]
        tokens = sum(n for _, n in with_adapters)
        different = len({self.adapter(r) for r, _ in with_adapters})
        assert self.ends_at is not None
        self.ends_at += self.load_ticks(loaded, stored) + self.overhead_ticks(tokens, different)

    def bring(self, wanted: list[int]) -> tuple[int, int]:
        """Use those in slots first, then those in host memory, then those of the store."""
        missing = [a for a in wanted if a not in self.slots_used]
        there = [a for a in wanted if a in self.slots_used]
        host = [a for a in missing if a in self.host]
        stored = [a for a in missing if a not in self.host]
        for adapter in there + host + stored:
            for place, most in ((self.slots_used, self.max_loras), (self.host, self.max_cpu_loras)):
                if adapter in place:
                    place.remove(adapter)
                place.append(adapter)
                del place[: max(0, len(place) - most)]
        return len(missing), len(stored)
