"""The tables that ship with Hermes: measured devices by name, `hermes:h200-sxm`.

A file a device, Hermes's own layout as Parquet. `hermes profile --publish` writes them.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from hermes.errors import InputError, UnknownNameError

__all__ = ["PREFIX", "packaged_folder", "packaged_table", "packaged_tables"]

PREFIX = "hermes:"
"""What a table of the package is named with in place of a path."""

_SUFFIX = ".parquet"


def packaged_folder() -> Path:
    """Return the folder of the tables; it is not there while the package has none."""
    return Path(str(resources.files("hermes.costs").joinpath("data", "tables")))


def packaged_tables(folder: Path | None = None) -> tuple[str, ...]:
    """Return the devices whose tables ship with Hermes."""
    place = folder or packaged_folder()
    return tuple(sorted(path.stem for path in place.glob(f"*{_SUFFIX}")))


def packaged_table(name: str, folder: Path | None = None) -> Path:
    """Return the file of a table such as `hermes:h200-sxm`.

    Args:
        name: With its prefix.
        folder: Of the tables; default: the package's.

    Raises:
        UnknownNameError: There is none of that device.
        InputError: There is none at all.
    """
    device, known = name.removeprefix(PREFIX), packaged_tables(folder)
    if not known:
        raise InputError(
            f"no measured table ships with this version, {device!r} neither; `hermes profile`"
            " measures one",
            "table",
        )
    if device not in known:
        raise UnknownNameError.among("table", device, list(known), "table")
    return (folder or packaged_folder()) / f"{device}{_SUFFIX}"
