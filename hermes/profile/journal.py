"""What was measured, kept as it comes: a line of JSON a point, so that nothing is done twice.

The first line says on what: a journal of another device is not continued. A line that was cut off
in the middle of writing is dropped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hermes.errors import InputError
from hermes.profile.point import Measurement, Point

__all__ = ["Entry", "Journal"]

_SAME = ("device", "machine", "torch", "threads", "hermes")


class Entry(dict[str, Any]):
    """One line: the point, and either its measurement or why there is none."""

    @property
    def key(self) -> str:
        """The key of its point."""
        return str(self["key"])

    @property
    def seconds(self) -> float | None:
        """The median time, where it was measured."""
        value = self.get("seconds")
        return None if value is None else float(value)


class Journal:
    """The file of one profile."""

    def __init__(self, path: Path, about: Mapping[str, Any], resume: bool) -> None:
        """Open the journal at *path*.

        Args:
            path: The file; its folder is made.
            about: Of the device and the software, written first.
            resume: Whether to continue a file that is there.

        Raises:
            InputError: The file is there and *resume* is not given, or it is of something else.
        """
        self.path = path
        self.entries: list[Entry] = []
        if path.exists() and path.stat().st_size:
            if not resume:
                raise InputError(
                    "holds a profile already; continue it with --resume, or give another --out",
                    file=str(path),
                )
            self._read(about)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        self._append({"about": dict(about)})

    def _read(self, about: Mapping[str, Any]) -> None:
        whole = self.path.read_bytes()
        kept = whole[: whole.rfind(b"\n") + 1]
        if len(kept) < len(whole):
            os.truncate(self.path, len(kept))
        lines = kept.decode("utf-8").splitlines()
        try:
            values = [json.loads(line) for line in lines]
            before = values[0]["about"]
        except (ValueError, IndexError, KeyError, TypeError) as error:
            raise InputError(f"is no journal of a profile: {error}", file=str(self.path)) from None
        for name in _SAME:
            if before.get(name) != about.get(name):
                raise InputError(
                    f"was begun with {name} {before.get(name)!r}, this is {about.get(name)!r};"
                    " give another --out",
                    file=str(self.path),
                )
        self.entries = [Entry(value) for value in values[1:]]

    @property
    def finished(self) -> tuple[str, ...]:
        """Keys of the points that were tried."""
        return tuple(entry.key for entry in self.entries)

    def add(self, point: Point, measured: Measurement | None, why_not: str = "") -> Entry:
        """Keep what came of a point."""
        entry = Entry(
            key=point.key, operator=point.operator, dtype=point.dtype, columns=dict(point.columns)
        )
        entry |= {"flops": point.flops, "cold_bytes": point.cold_bytes, "bus": point.bus}
        if measured is not None:
            entry |= asdict(measured)
        if why_not:
            entry["why_not"] = why_not
        self.entries.append(entry)
        self._append(entry)
        return entry

    def _append(self, value: Mapping[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(value) + "\n")
            file.flush()
