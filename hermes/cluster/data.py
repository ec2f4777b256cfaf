"""The files a scenario reads while it runs: traces and model configs, by content.

A worker may be another machine, and a file may change under a running study. So a study notes the
SHA-256 of each file it depends on; a worker reads the file in place where the content is the same,
and a copy of what the driver read where it is not.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from hermes.errors import InputError
from hermes.scenario.clients import EncoderClientSpec, LlmClientSpec
from hermes.scenario.pipeline import leaves
from hermes.scenario.scenario import Scenario
from hermes.scenario.workload import TraceRequests

__all__ = ["DataFile", "data_files", "digest_of", "with_local_files"]

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file as a scenario names it, and the SHA-256 of its content.

    `content` travels only to workers on other machines; elsewhere it is None.
    """

    name: str
    digest: str
    content: bytes | None = None


def data_files(scenario: Scenario, folder: Path | None) -> tuple[DataFile, ...]:
    """Return the files a scenario depends on, by name; one that is missing is left out.

    A missing file is for the simulator to complain about, which knows what it is for.
    """
    names = dict.fromkeys(_names(scenario))
    found = []
    for name in names:
        path = _path(name, folder)
        if path.is_file():
            found.append(DataFile(name, digest_of(path)))
    return tuple(found)


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, read once as long as size and time stay."""
    try:
        status = path.stat()
        return _digest(str(path), status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", "", str(path)) from None


def with_local_files(
    mapping: Mapping[str, Any], files: tuple[DataFile, ...], folder: Path | None
) -> dict[str, Any]:
    """Return a scenario's plain data with the paths at which this machine holds *files*.

    Raises:
        InputError: A file is not here, or holds something else, and no copy came along.
    """
    moved = {}
    for file in files:
        path = _local_path(file, folder)
        if path != _path(file.name, folder):
            moved[file.name] = str(path.absolute())
    return _renamed(mapping, moved) if moved else dict(mapping)


def _names(scenario: Scenario) -> Iterator[str]:
    requests = scenario.workload.requests
    if isinstance(requests, TraceRequests):
        yield requests.path
    for client in scenario.clients.values():
        match client:
            case LlmClientSpec():
                yield client.model
            case EncoderClientSpec():
                yield from client.models
    for name, stages in scenario.pipelines.items():
        for leaf in leaves(name, stages):
            model = getattr(leaf.body, "model", None)
            if model is not None:
                yield model


def _path(name: str, folder: Path | None) -> Path:
    path = (folder or Path()) / Path(name).expanduser()
    return path / "config.json" if path.is_dir() else path


def _renamed(value: Any, moved: Mapping[str, str], key: str = "") -> Any:
    """Replace file names where a scenario has them: under the keys `path`, `model`, `models`."""
    if isinstance(value, Mapping):
        return {name: _renamed(item, moved, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, moved, key) for item in value]
    if key in {"path", "model", "models"} and isinstance(value, str):
        return moved.get(value, value)
    return value


def _local_path(file: DataFile, folder: Path | None) -> Path:
    path = _path(file.name, folder)
    if path.is_file() and digest_of(path) == file.digest:
        return path
    if file.content is None:
        what = "has changed since the study started" if path.exists() else "does not exist"
        raise InputError(f"the file {what}", "", str(path))
    return _unpacked(file.digest, path.name, file.content)


@lru_cache(maxsize=256)
def _digest(path: str, size: int, modified_ns: int) -> str:
    del size, modified_ns  # part of the cache's key
    total = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(_CHUNK):
            total.update(chunk)
    return total.hexdigest()


def _unpacked(digest: str, name: str, content: bytes) -> Path:
    """Write a copy once a machine and user, whole or not at all, and return its path."""
    home = Path(tempfile.gettempdir()) / f"hermes-data-{os.getuid()}"
    home.mkdir(mode=0o700, exist_ok=True)
    if home.is_symlink() or home.stat().st_uid != os.getuid():
        raise InputError(f"{home} belongs to someone else; set TMPDIR to a folder of your own")
    path = home / f"{digest[:32]}-{name}"
    if not path.is_file() or digest_of(path) != digest:
        descriptor, draft = tempfile.mkstemp(dir=home)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(draft).replace(path)
    return path
