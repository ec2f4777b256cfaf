"""Inputs that the caches do not hold: views into one large pool, another one every call."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import torch

__all__ = ["Operands", "rotating"]

_SLOTS, _POINT_CALLS = 512, 50
_BLOCK, _TRIED, _TRIES = 2**20, 2**23, 3


class Operands:
    """Makes the inputs of calls on one device.

    The pool is several times the last cache, so that by the time a view comes round again it has
    been pushed out. Values are small random numbers: zeros would draw less power and run faster.
    """

    def __init__(self, device: str, pool_bytes: int, folder: Path) -> None:
        """Reserve the pool.

        Args:
            device: As PyTorch names it.
            pool_bytes: Size of the pool.
            folder: Where files to read may be written.
        """
        import torch

        self.torch = torch
        self.device = device
        self.folder = folder
        self._generator = torch.Generator(device=device).manual_seed(0)
        self._block = self.random(_BLOCK)
        self._pool = self._block.repeat(max(1, pool_bytes // 2 // _BLOCK))
        self._turn = 0
        self._kept: dict[tuple[str | int, ...], Any] = {}

    def kept(self, key: tuple[str | int, ...], make: Callable[[], Any]) -> Any:
        """Return what is slow to make and used by several points; only the last of a kind stays."""
        if key not in self._kept:
            for other in [each for each in self._kept if each[0] == key[0]]:
                del self._kept[other]
            self._kept[key] = make()
        return self._kept[key]

    def random(self, *shape: int, dtype: torch.dtype | None = None) -> torch.Tensor:
        """Return fresh random values."""
        torch = self.torch
        kind = dtype or torch.bfloat16
        values = torch.empty(shape, dtype=kind, device=self.device)
        return values.uniform_(-0.5, 0.5, generator=self._generator)

    def repeated(self, *shape: int) -> torch.Tensor:
        """Return random bf16 values that repeat after a while: large tensors are drawn faster."""
        size = math.prod(shape)
        return self._block.repeat(-(-size // _BLOCK))[:size].view(shape)

    def fill_seconds(self, values: int) -> float:
        """Return how long it takes to make so many *values* by `repeated`, about."""
        times = []
        for _ in range(_TRIES):
            begun = time.perf_counter()
            float(self.repeated(_TRIED)[0])  # waits for the device
            times.append(time.perf_counter() - begun)
        return values / _TRIED * min(times)

    def cold(self, *shape: int) -> list[torch.Tensor]:
        """Return bf16 tensors of a shape that do not overlap, enough to fill the pool."""
        size = math.prod(shape)
        padded = -(-size // 64) * 64  # whole cache lines
        count = min(_SLOTS, self._pool.numel() // padded)
        if count < 2:
            filled = self._block.repeat(-(-2 * size // _BLOCK))[: 2 * size]
            return list(filled.view(2, *shape))
        stride = self._pool.numel() // count // 64 * 64
        self._turn += _POINT_CALLS  # where the point before ended
        places = [(self._turn + place) % count * stride for place in range(count)]
        return [self._pool[place : place + size].view(shape) for place in places]


def rotating(function: Callable[[Any], object], inputs: list[Any]) -> Callable[[], object]:
    """Return a call of *function* with the next of *inputs* every time."""
    turn = itertools.cycle(inputs)
    return lambda: function(next(turn))
