"""Any table of measured operators, by the path of its file or folder."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from hermes.catalog import Device, Model, find_device
from hermes.costs.tables.aiconfigurator import is_aiconfigurator, read_aiconfigurator
from hermes.costs.tables.calls import Call, CallTable
from hermes.costs.tables.frame import read_rows
from hermes.costs.tables.llmservingsim import is_llmservingsim, read_llmservingsim
from hermes.costs.tables.own import read_own
from hermes.costs.tables.vidur import is_vidur, read_vidur
from hermes.errors import InputError, UnknownNameError

__all__ = ["read_calls"]

_SUFFIXES = (".csv", ".csv.gz", ".parquet")


def read_calls(path: Path, model: Model, device: Device, tensor_parallel_size: int) -> CallTable:
    """Read the measured calls at *path*.

    Args:
        path: A file in Hermes's own layout or Vidur's, a folder of such, a folder of
            LLMServingSim's, or one device's folder of NVIDIA's database.
        model: What LLMServingSim's layers belong to.
        device: Rows that name another one are left out.
        tensor_parallel_size: Of LLMServingSim's profile.

    Raises:
        InputError: Nothing there can be read, or nothing of the device; names file and line.
    """
    if not path.exists():
        raise InputError("no such file or folder", file=str(path))
    linked = device.link_bandwidth_gb_per_s > 0
    return _read(path, _changed(path), model, device.name, tensor_parallel_size, linked)


def _changed(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Return what tells a changed table apart from the one that was read before."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    stats = [(file.name, file.stat()) for file in files]
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)


@lru_cache(maxsize=8)
def _read(
    path: Path,
    changed: tuple[tuple[str, int, int], ...],
    model: Model,
    device: str,
    size: int,
    linked: bool,
) -> CallTable:
    del changed  # part of the key
    calls, others = [], set()
    for name, call in _calls(path, model, size, linked):
        if not name or _is(name, device):
            calls.append(call)
        else:
            others.add(name)
    if not calls and others:
        known = ", ".join(sorted(others))
        raise InputError(f"holds no measurement on {device} (only on: {known})", file=str(path))
    return CallTable(calls, str(path))


def _is(name: str, device: str) -> bool:
    try:
        return find_device(name).name == device
    except UnknownNameError:
        return name == device


def _calls(path: Path, model: Model, size: int, linked: bool) -> Iterator[tuple[str, Call]]:
    if path.is_dir():
        if is_aiconfigurator(path):
            yield from read_aiconfigurator(path, linked)
        elif is_llmservingsim(path):
            yield from read_llmservingsim(path, model, size)
        else:
            files = sorted(p for p in path.iterdir() if p.name.endswith(_SUFFIXES))
            if not files:
                wanted = ", ".join(_SUFFIXES)
                raise InputError(f"holds no table (looked for: {wanted})", file=str(path))
            for file in files:
                yield from _calls(file, model, size, linked)
        return
    header = frozenset(next((row for _, row in read_rows(path)), {}))
    yield from read_vidur(path) if is_vidur(header) else read_own(path)
