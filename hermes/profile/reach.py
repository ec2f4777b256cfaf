"""How far the grids of a profile reach on a device."""

from __future__ import annotations

from dataclasses import dataclass

from hermes.profile.machine import Machine

__all__ = ["Reach", "reach_of"]


@dataclass(frozen=True, slots=True)
class Reach:
    """Bounds of the grids."""

    kind: str
    """gpu or cpu."""
    dtypes: tuple[str, ...]
    """Of weights."""
    tokens: int
    """Most tokens of a step."""
    length: int
    """Longest context."""
    sequences: int
    """Most decodes of a step."""
    memory_bytes: float
    """Most that the operands of one call may take."""
    call_seconds: float
    """Longest call worth repeating."""
    tensor_parallel_sizes: tuple[int, ...] = (1,)
    copy_bytes: int = 2**28
    vectors: tuple[int, ...] = (100_000,)
    point_seconds: float = 0.05
    """How long the calls of a point are repeated."""


def reach_of(machine: Machine, seconds: float) -> Reach:
    """Return what suits a device and the *seconds* there are."""
    dtypes = ("bf16", "fp8") if machine.fp8 else ("bf16",)
    memory_bytes = machine.memory_bytes
    if machine.kind == "gpu":
        return Reach(
            kind="gpu",
            dtypes=dtypes,
            tokens=8192,
            length=32768,
            sequences=256,
            memory_bytes=memory_bytes / 4,
            call_seconds=min(0.1, seconds / 1000),
            tensor_parallel_sizes=(1, 2, 4, 8),
            vectors=(100_000, 400_000),
            point_seconds=min(0.05, seconds / 2000),
        )
    return Reach(
        kind="cpu",
        dtypes=dtypes,
        tokens=1024,
        length=2048,
        sequences=32,
        memory_bytes=memory_bytes / 8,
        call_seconds=min(0.5, seconds / 200),
        copy_bytes=2**26,
        vectors=(20_000,) if seconds < 120 else (20_000, 100_000),
        point_seconds=min(0.05, seconds / 2000),
    )
