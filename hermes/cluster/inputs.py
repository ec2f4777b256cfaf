"""What a scenario reads while it runs: traces, ServeGen folders, model configs, cost tables.

A scenario names files under a few keys; which one tells what belongs to it: a folder of cost
tables is its tables, a RAGPulse trace brings its dictionaries along. An input is therefore one
or more files below one folder, whatever the scenario calls it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from hermes.costs.tables import packaged
from hermes.costs.tables.aiconfigurator import PREFIX
from hermes.workload.traces.ragpulse import dictionary_names

__all__ = ["Input", "inputs", "renamed"]

_PACKAGE = "aiconfigurator-core"
_KEYS = frozenset({"path", "model", "models", "table", "calibrated"})
_TABLE = re.compile(r".*\.(csv|csv\.gz|parquet)")
_SERVEGEN = re.compile(r"chunk-\d+-(trace\.csv|dataset\.json)(\.gz)?")


@dataclass(frozen=True, slots=True)
class Input:
    """A file or folder as a scenario names it.

    Attributes:
        name: As it stands there.
        kind: `file`, `model`, `table`, `servegen`, `ragpulse` or `package`.
    """

    name: str
    kind: str

    def path(self, folder: Path | None) -> Path:
        """Return where it is, if it is where the scenario says."""
        path = (folder or Path()) / Path(self.name).expanduser()
        return path / "config.json" if self.kind == "model" and path.is_dir() else path

    def members(self, folder: Path | None) -> dict[str, Path]:
        """Return the files that belong to it by their path below it; empty where there are none.

        A single file is called by its own name.
        """
        path = self.path(folder)
        if self.kind in {"table", "servegen"} and path.is_dir():
            wanted = _TABLE if self.kind == "table" else _SERVEGEN
            found = path.rglob("*") if self.kind == "table" else path.iterdir()
            return {
                file.relative_to(path).as_posix(): file
                for file in sorted(found)
                if wanted.fullmatch(file.name) and file.is_file()
            }
        if not path.is_file():
            return {}
        beside = dictionary_names() if self.kind == "ragpulse" else ()
        found_beside = (path.parent / name for name in beside)
        return {path.name: path} | {file.name: file for file in found_beside if file.is_file()}

    def version(self) -> str | None:
        """Return the version of the installed package it is in; None where it is in none."""
        if self.kind != "package":
            return None
        try:
            return f"{_PACKAGE} {metadata.version(_PACKAGE)}"
        except metadata.PackageNotFoundError:
            return None


def inputs(scenario: Mapping[str, Any]) -> dict[str, Input]:
    """Return what a scenario, as plain data, may read, by name; models of the catalog too."""
    return {found.name: found for found in _found(scenario)}


def renamed(value: Any, moved: Mapping[str, str], key: str = "") -> Any:
    """Replace names of inputs where a scenario has them."""
    if isinstance(value, Mapping):
        return {name: renamed(item, moved, name) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [renamed(item, moved, key) for item in value]
    if key in _KEYS and isinstance(value, str):
        return moved.get(value, value)
    return value


def _found(value: Any, key: str = "", block: str = "") -> Iterator[Input]:
    if isinstance(value, Mapping):
        trace = value.get("trace")
        for name, item in value.items():
            if name in _KEYS and isinstance(item, str):
                yield Input(item, _kind(name, item, key, trace))
            else:
                yield from _found(item, name, key)
    elif isinstance(value, list | tuple):
        for item in value:
            if key in _KEYS and isinstance(item, str):
                yield Input(item, _kind(key, item, block, None))
            else:
                yield from _found(item, key, block)


def _kind(key: str, name: str, block: str, trace: object) -> str:
    if key == "table" and name.startswith((PREFIX, packaged.PREFIX)):
        return "package"
    if key == "path" and block == "servegen":
        return "servegen"
    if key == "path" and trace == "ragpulse":
        return "ragpulse"
    if key in {"model", "models"}:
        return "model"
    return "table" if key == "table" else "file"
