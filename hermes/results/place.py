"""Places: where a study's files live, a local folder or a prefix of an object store.

A study asks little of a place, and all of it by name (`study.json`, `trials/part-...`): read,
list, publish a file whole or not at all, set one aside, and let one driver write. How that is
kept differs: a folder has system calls and the kernel's lock (`local_place`), an object store
whole objects and a lease (`object_place`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

__all__ = ["DRIVERS", "LOCK", "STUDY", "TRIALS", "Place", "is_url", "open_place"]

STUDY = "study.json"
TRIALS = "trials"
QUARANTINE = "quarantine"
LOCK = ".lock"
DRIVERS = ".drivers"

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/{1,2}")


@runtime_checkable
class Place(Protocol):
    """Where a study's files live. Names are relative, with `/`."""

    def __str__(self) -> str: ...

    def at(self, name: str) -> Path | str:
        """Return the path or URL of a file."""

    def claim(self) -> None:
        """Make the place if it is new, and become the one driver that writes to it.

        Sweeps away what a killed driver left half-done.

        Raises:
            StudyLockedError: Another driver has it.
        """

    def release(self) -> None:
        """Let another driver have it."""

    @property
    def claimed(self) -> bool:
        """Whether this object may write."""

    def holds_study(self) -> bool:
        """Return whether there is a place at all."""

    def names(self, folder: str = "") -> list[str]:
        """Return the names of what is in a folder, hidden ones too; [] where there is none."""

    def read(self, name: str) -> bytes:
        """Return a file's content; OSError where that cannot be had."""

    def read_all(self, names: Sequence[str]) -> Iterator[bytes | OSError]:
        """Return the files' content, or why it cannot be had, in order."""

    def publish(self, name: str, content: bytes) -> None:
        """Make a new file appear, whole and durable; its name must tell its content."""

    def replace(self, name: str, content: bytes) -> None:
        """Write a file so that readers see the old content or the new one."""

    def remove(self, folder: str, names: Sequence[str]) -> None:
        """Remove files from a folder."""

    def set_aside(self, folder: str, name: str) -> str:
        """Move a file to the quarantine, over nothing; return its new name."""


def is_url(path: str | Path) -> bool:
    """Return whether a study's place is written as a URL (`s3://...`), not as a local path."""
    return isinstance(path, str) and _URL.match(path) is not None


def open_place(path: str | Path) -> Place:
    """Return the place that a path or URL names; nothing is touched yet.

    Raises:
        InputError: The URL is of a kind that is not known, or holds a secret.
    """
    if is_url(path):
        from hermes.results.object_place import ObjectPlace

        return ObjectPlace.of_url(str(path))
    from hermes.results.local_place import LocalPlace

    return LocalPlace(Path(path))
