"""Quasi-random points by index: a Halton sequence with scrambled digits.

Point *n* has in dimension *i* the digits of *n* in the *i*-th prime base, mirrored at the point,
each digit place through a random permutation of its own (Owen 2017, "A randomized Halton
algorithm"). Any stretch of the sequence fills the space more evenly than independent draws do, and
a point depends on the seed and its number alone, which is what a resumed study needs.
"""

from __future__ import annotations

from hermes.workload.streams import stream

__all__ = ["Halton"]

_RESOLUTION = 2.0**-53  # digits beyond it change no float below 1


class Halton:
    """A scrambled Halton sequence.

    Args:
        dimensions: Numbers in a point.
        seed: Draws the permutations.
    """

    def __init__(self, dimensions: int, seed: int) -> None:
        self._bases = _primes(dimensions)
        self._permutations = [_permutations(seed, base) for base in self._bases]

    def point(self, number: int) -> list[float]:
        """Return point *number*, its coordinates from [0, 1)."""
        return [
            _mirrored(number, base, digits)
            for base, digits in zip(self._bases, self._permutations, strict=True)
        ]


def _mirrored(number: int, base: int, permutations: list[list[int]]) -> float:
    value, weight = 0.0, 1.0 / base
    for permutation in permutations:
        number, digit = divmod(number, base)
        value += permutation[digit] * weight
        weight /= base
    return min(value, 1.0 - _RESOLUTION)


def _permutations(seed: int, base: int) -> list[list[int]]:
    rng = stream(seed, "sampler", "qmc", str(base))
    found, weight = [], 1.0
    while weight > _RESOLUTION:
        found.append(rng.permutation(base).tolist())
        weight /= base
    return found


def _primes(count: int) -> list[int]:
    found: list[int] = []
    candidate = 2
    while len(found) < count:
        if all(candidate % prime for prime in found):
            found.append(candidate)
        candidate += 1
    return found
