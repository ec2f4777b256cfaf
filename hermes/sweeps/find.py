"""Finding a study: by its path, or by the name of one that ships with Hermes."""

from __future__ import annotations

from pathlib import Path

import hermes
from hermes.errors import InputError, did_you_mean

__all__ = ["find_study", "study_names"]


def find_study(name_or_path: str | Path) -> Path:
    """Return the file of a study.

    Raises:
        InputError: There is no such file, and no study that ships with Hermes has this name.
    """
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    shipped = _shipped()
    if str(name_or_path) in shipped:
        return shipped[str(name_or_path)]
    if path.is_dir():
        raise InputError("is a folder; give the path of a study's YAML file", "", str(path))
    if path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
        raise InputError("no such file", "", str(path))
    raise InputError(
        f"no file, and no study that ships with Hermes{did_you_mean(str(path), shipped)}",
        "",
        str(path),
    )


def study_names() -> tuple[str, ...]:
    """Return the names of the studies that ship with Hermes."""
    return tuple(_shipped())


def _shipped() -> dict[str, Path]:
    """Return the studies by name: in the wheel beside this file, in the repository at its top."""
    inside = Path(__file__).parent / "studies"
    folder = inside if inside.is_dir() else Path(hermes.__file__).parent.parent / "sweeps"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
