"""What can go wrong, as one tree.

HermesError                 root; the command exits with 1
├── InputError              the user's input is wrong; the command exits with 2
│   ├── UnknownNameError    a name that no catalog, registry or file holds
│   └── InfeasibleError     well-formed, but no such deployment can exist
├── StudyLockedError        another driver holds the study; the command exits with 2
└── SimulationError         a law of the simulator was broken: a bug in Hermes

Every class takes positional arguments only: SimPy re-creates failed exceptions from `args`, and
Ray pickles them the same way.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Self

__all__ = [
    "HermesError",
    "InfeasibleError",
    "InputError",
    "SimulationError",
    "StudyLockedError",
    "UnknownNameError",
    "did_you_mean",
]

_LISTED = 12


class HermesError(Exception):
    """Root of every error Hermes raises on purpose."""


class InputError(HermesError):
    """The input is wrong: says where, what was given and what is allowed.

    Args:
        message: What is wrong and what is allowed, without the place.
        field: Dotted path of the field, or empty.
        file: Path of the file the field stands in, or empty.
        line: 1-based line in that file, or 0 where unknown.
    """

    def __init__(self, message: str, field: str = "", file: str = "", line: int = 0) -> None:
        super().__init__(message, field, file, line)
        self.message = message
        self.field = field
        self.file = file
        self.line = line

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.file and self.line else self.file
        return ": ".join(part for part in (place, self.field, self.message) if part)

    def inside(self, field: str = "", file: str = "", line: int = 0) -> Self:
        """Return the same error with the place completed by an outer caller's knowledge."""
        path = ".".join(part for part in (field, self.field) if part)
        return type(self)(self.message, path, self.file or file, self.line or line)


class UnknownNameError(InputError):
    """A name that nothing answers to."""

    @classmethod
    def among(cls, kind: str, given: str, allowed: Iterable[str], field: str = "") -> Self:
        """Build the message for a *kind* of thing called *given* that is none of *allowed*."""
        names = list(allowed)
        return cls(f"unknown {kind} {given!r}{did_you_mean(given, names)}", field)


class InfeasibleError(InputError):
    """Well-formed, but no such deployment can exist: it does not fit, or does not divide."""


class StudyLockedError(HermesError):
    """Another driver is writing to the study."""


class SimulationError(HermesError):
    """The simulation broke one of its own laws; this is a bug in Hermes, not in the input."""


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """Return the tail of a message: the nearest allowed name, then what is allowed."""
    names = sorted(allowed)
    lowered = {name.lower(): name for name in names}
    near = get_close_matches(given.lower(), list(lowered), n=1, cutoff=0.6)
    hint = f"; did you mean {lowered[near[0]]!r}?" if near else ""
    shown = ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
    return f"{hint} (allowed: {shown})" if names else hint
