"""What a study's scenarios read, by content, and how it reaches workers on other machines.

A worker may be another machine, and a file may change under a running study. So a study notes a
SHA-256 of each input it depends on; a worker reads the input in place where the content is the
same, and a copy of what the driver read where it is not.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from hermes.cluster.inputs import Input, inputs, renamed
from hermes.errors import InputError

__all__ = ["DataFile", "data_files", "digest_of", "with_content", "with_local_files"]

_CHUNK = 1 << 20
_Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class DataFile:
    """An input as a scenario names it, and the SHA-256 of its content.

    `content`, file by file, travels only to workers on other machines; elsewhere it is None. It
    is held in arrays, which workers read where Ray's object store has them, without a copy.
    `kind` is that of its `Input`; empty where the scenario is to tell.
    """

    name: str
    digest: str
    content: Mapping[str, _Bytes] | None = None
    kind: str = ""


def data_files(scenario: Mapping[str, Any], folder: Path | None) -> tuple[DataFile, ...]:
    """Return the inputs that a scenario, as plain data, depends on; a missing one is left out.

    A missing file is for the simulator to complain about, which knows what it is for.
    """
    found = []
    for entry in inputs(scenario).values():
        digest = _digest_of_input(entry, folder)
        if digest is not None:
            found.append(DataFile(entry.name, digest, None, entry.kind))
    return tuple(found)


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, read once as long as size and time stay."""
    try:
        status = path.stat()
        return _digest(str(path), status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", "", str(path)) from None


def with_content(files: tuple[DataFile, ...], folder: Path | None) -> tuple[DataFile, ...]:
    """Return inputs with their content, for workers on other machines.

    Raises:
        InputError: One has changed since the study was loaded.
    """
    full = []
    for file in files:
        entry = Input(file.name, file.kind)
        content = {
            name: np.frombuffer(path.read_bytes(), np.uint8)
            for name, path in entry.members(folder).items()
        }
        if _digest_of_input(entry, folder) != file.digest:
            raise InputError("has changed while the study started", "", str(entry.path(folder)))
        full.append(replace(file, content=content))
    return tuple(full)


def with_local_files(
    mapping: Mapping[str, Any], files: tuple[DataFile, ...], folder: Path | None
) -> dict[str, Any]:
    """Return a scenario's plain data with the paths at which this machine holds *files*.

    Raises:
        InputError: A file is not here, or holds something else, and no copy came along.
    """
    known = inputs(mapping) if files else {}
    moved = {}
    for file in files:
        entry = Input(file.name, file.kind) if file.kind else known.get(file.name)
        if entry is None:
            continue  # of another scenario
        path = _local_path(entry, file, folder)
        if path is not None and path != entry.path(folder):
            moved[file.name] = str(path.absolute())
    return renamed(mapping, moved) if moved else dict(mapping)


def _digest_of_input(entry: Input, folder: Path | None) -> str | None:
    """Return the SHA-256 of an input: of its one file, or of the names and digests of all."""
    version = entry.version()
    if version is not None:
        return hashlib.sha256(version.encode()).hexdigest()
    members = entry.members(folder)
    digests = {name: digest_of(path) for name, path in members.items()}
    if len(digests) == 1 and entry.path(folder).is_file():
        return next(iter(digests.values()))
    lines = "".join(f"{digest} {name}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest() if digests else None


def _local_path(entry: Input, file: DataFile, folder: Path | None) -> Path | None:
    """Return where an input lies here; None for one that is a package's."""
    here = _digest_of_input(entry, folder)
    if entry.kind == "package":
        if here != file.digest:
            raise InputError(
                f"{file.name!r} needs the same version of its package on every machine; the "
                f"driver's differs from this worker's ({entry.version() or 'none'})",
                "table",
            )
        return None
    path = entry.path(folder)
    if here == file.digest:
        return path
    if file.content is None:
        what = "has changed since the study started" if path.exists() else "does not exist"
        raise InputError(f"the file {what}", "", str(path))
    return _unpacked(file.digest, path.name, file.content)


@lru_cache(maxsize=1 << 14)
def _digest(path: str, size: int, modified_ns: int) -> str:
    del size, modified_ns  # part of the cache's key
    total = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(_CHUNK):
            total.update(chunk)
    return total.hexdigest()


def _unpacked(digest: str, name: str, content: Mapping[str, _Bytes]) -> Path:
    """Write a copy once a machine and user, whole or not at all, and return its path.

    It keeps the input's own name, which finds its way into what a row says of its costs.
    """
    if name not in content:
        content = {f"{name}/{member}": data for member, data in content.items()}
    home = Path(tempfile.gettempdir()) / f"hermes-data-{os.getuid()}"
    home.mkdir(mode=0o700, exist_ok=True)
    if home.is_symlink() or home.stat().st_uid != os.getuid():
        raise InputError(f"{home} belongs to someone else; set TMPDIR to a folder of your own")
    place = home / digest[:32]
    if not _holds(place, content):
        draft = Path(tempfile.mkdtemp(dir=home))
        for member, data in content.items():
            target = draft / _inside(member)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data.data)
        _swap(draft, place, content)
    return place / name


def _holds(place: Path, content: Mapping[str, _Bytes]) -> bool:
    """Return whether a folder holds exactly this content."""
    for member, data in content.items():
        path = place / member
        if not path.is_file() or digest_of(path) != hashlib.sha256(data.data).hexdigest():
            return False
    return True


def _swap(draft: Path, place: Path, content: Mapping[str, _Bytes]) -> None:
    """Put a finished folder in its place, unless a neighbour has done so meanwhile."""
    try:
        draft.rename(place)
    except OSError:
        if _holds(place, content):
            shutil.rmtree(draft)
            return
        spoilt = Path(tempfile.mkdtemp(dir=place.parent))
        place.rename(spoilt / place.name)
        draft.rename(place)
        shutil.rmtree(spoilt)


def _inside(member: str) -> PurePosixPath:
    """Refuse a path that would leave its folder."""
    path = PurePosixPath(member)
    if path.is_absolute() or ".." in path.parts:
        raise InputError(f"{member!r} lies outside its folder")
    return path
