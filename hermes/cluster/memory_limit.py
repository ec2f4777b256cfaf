"""A memory limit on Python code, by the process's address space: an error, not a dead machine.

Without it a trial that grows without bound brings in the kernel's or Ray's killer, which may take
innocent neighbours along.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["memory_limit"]

_GIB = 2**30


@contextmanager
def memory_limit(gib: float | None) -> Iterator[None]:
    """Let the body raise `MemoryError` once it holds so much more than there was; None: no limit.

    Address space is what the kernel can limit, and libraries reserve gigabytes of it that they
    never touch; so the limit counts from what is reserved when the body begins.
    """
    reserved = _reserved_bytes()
    if gib is None or reserved is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = reserved + int(gib * _GIB)
    for known in (soft, hard):
        if known != resource.RLIM_INFINITY:
            wanted = min(wanted, known)
    resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _reserved_bytes() -> int | None:
    """Return the process's address space; None where the system does not say (not Linux)."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return pages * resource.getpagesize()
