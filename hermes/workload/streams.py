"""Named random streams: one seed, one independent generator for every purpose.

A stream depends on the seed and its own name only, so that using one more stream, or drawing more
from it, leaves all others as they were. Two scenarios that differ in one part then meet the same
draws in every other part (common random numbers).
"""

from __future__ import annotations

import hashlib

import numpy as np

from hermes.errors import InputError

__all__ = ["stream"]

_WORDS = 4  # 128 bits of a name's digest, in the 32-bit words that SeedSequence mixes


def stream(seed: int, *names: str) -> np.random.Generator:
    """Return the generator called `names` under `seed`; the same arguments, the same draws.

    Raises:
        InputError: if the seed is negative.
    """
    if seed < 0:
        raise InputError(f"must be 0 or more, got {seed}", "seed")
    key = [word for name in names for word in _words(name)]
    sequence = np.random.SeedSequence(entropy=seed, spawn_key=key)
    # PCG64 by name: default_rng may change its mind between NumPy versions.
    return np.random.Generator(np.random.PCG64(sequence))


def _words(name: str) -> list[int]:
    digest = hashlib.sha256(name.encode()).digest()
    return [int.from_bytes(digest[4 * i : 4 * i + 4], "little") for i in range(_WORDS)]
