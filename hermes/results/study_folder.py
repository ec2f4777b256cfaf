"""A study's folder: its question, its rows and the lock of the one driver that may write.

```
OUT/study.json                                   the resolved study, written first
OUT/trials/part-<number>-<sha256[:16]>.parquet   finished trials, whole parts only
OUT/quarantine/                                  damaged parts, set aside to be run again
OUT/.lock                                        held by the kernel while a driver lives
```

Nothing here depends on a tidy end: a driver may be killed at any instruction, and the next one
finds every row of every part that was published.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

from hermes.errors import HermesError, InputError, StudyLockedError
from hermes.results.files import Files, explained, publish, replace_file
from hermes.results.parts import (
    DamagedPartError,
    PartName,
    conform,
    encode_part,
    list_parts,
    read_part,
    without_duplicates,
)
from hermes.results.schema import rows_to_table

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["SetAside", "StoredRows", "StudyFolder", "read_study"]

_STUDY = "study.json"
_TRIALS = "trials"
_QUARANTINE = "quarantine"
_LOCK = ".lock"
_SMALL_ROWS = 5_000
_MOST_SMALL = 500  # a part a second: merged every eight minutes


@dataclass(frozen=True, slots=True)
class SetAside:
    """A part that could not be used: where it lies now, relative to the folder, and why."""

    file: str
    why: str


@dataclass(frozen=True, slots=True)
class StoredRows:
    """What a study's folder held: one row a trial key, in the order asked."""

    table: pa.Table
    set_aside: tuple[SetAside, ...]

    def to_dicts(self) -> list[dict[str, object]]:
        """Return the rows as mappings of column to value."""
        rows: list[dict[str, object]] = self.table.to_pylist()
        return rows


class StudyFolder:
    """The folder of one study, open for its one driver.

    Use it as a context: entering creates the folder and takes the lock, leaving gives it back.
    A child made by a bare `fork` shares the lock; processes started with `exec` do not.

    Args:
        path: The study's output folder; parents are created.
        files: The system calls to use.
    """

    def __init__(self, path: Path, files: Files | None = None) -> None:
        self.path = Path(path)
        self._files = files or Files()
        self._lock: int | None = None
        self._next_number = 0
        self._rows: dict[PartName, int] = {}  # of the parts read or written so far

    def __repr__(self) -> str:
        return f"StudyFolder({str(self.path)!r})"

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Create the folder, take the lock and sweep away what a killed driver left half-done.

        Raises:
            StudyLockedError: Another driver holds the folder; the message names it.
        """
        with explained("create", self.path):
            for folder in [*reversed(self.path.absolute().parents), self.path]:
                if not folder.is_dir():
                    self._files.make_folder(folder)
                    self._files.sync_folder(folder.parent)
        self._take_lock()
        try:
            trials = self.path / _TRIALS
            with explained("create", trials):
                self._files.make_folder(trials)
                self._files.sync_folder(self.path)
            self._remove_drafts()
            numbers = [part.number for part in list_parts(trials)]
            self._next_number = max(numbers, default=-1) + 1
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the lock back."""
        descriptor, self._lock = self._lock, None
        if descriptor is not None:
            with explained("unlock", self.path / _LOCK):
                self._files.close(descriptor)

    def study(self) -> dict[str, object] | None:
        """Return the study the folder holds, or None when it is new."""
        return read_study(self.path)

    def write_study(self, study: Mapping[str, object]) -> None:
        """Write study.json, or check that the one there asks the same question.

        Raises:
            InputError: The folder holds another study (`study_key` differs).
        """
        self._require_open()
        held = self.study()
        if held is not None:
            _require_same_study(self.path, held, study)
            return
        content = json.dumps(study, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        path = self.path / _STUDY
        with explained("write", path):
            replace_file(self._files, path, content.encode("utf-8"))

    def write_part(self, rows: Sequence[Mapping[str, object]], schema: pa.Schema) -> Path:
        """Make *rows* durable as one new part and return its path.

        When this returns, the rows survive a power cut. When it raises, they may or may not be
        there; writing them again does no harm.
        """
        self._require_open()
        content = encode_part(rows_to_table(rows, schema))
        name = PartName.of(self._next_number, content)
        self._next_number += 1
        path = self.path / _TRIALS / name.file
        with explained(f"write {len(rows)} trials ({len(content)} bytes) to", path):
            publish(self._files, path, content)
        self._rows[name] = len(rows)
        return path

    def compact(self, schema: pa.Schema, most_small: int = _MOST_SMALL) -> None:
        """Merge small parts into one where there are more than *most_small* of them.

        The merged part is durable before the first small one goes. Whoever is stopped in between
        leaves rows twice, bit by bit the same, which readers count once.
        """
        import pyarrow as pa

        self._require_open()
        small = [name for name, rows in self._rows.items() if rows < _SMALL_ROWS]
        if len(small) <= most_small:
            return
        trials = self.path / _TRIALS
        key = (schema.metadata or {}).get(b"hermes.study_key", b"").decode()
        try:
            tables = [conform(read_part(trials, name, key), schema) for name in small]
        except DamagedPartError:
            return  # the next start sets it aside
        table = without_duplicates(pa.concat_tables(tables))
        content = encode_part(table)
        merged = PartName.of(self._next_number, content)
        self._next_number += 1
        with explained(f"merge {len(small)} parts into", trials / merged.file):
            publish(self._files, trials / merged.file, content)
            self._rows[merged] = table.num_rows
            for name in small:
                self._files.remove(trials / name.file)
                del self._rows[name]
            self._files.sync_folder(trials)

    def read_rows(self, schema: pa.Schema) -> StoredRows:
        """Read every part, setting damaged ones aside so that their trials are run again.

        Raises:
            HermesError: Two rows of one trial disagree, or a newer Hermes wrote the study.
        """
        import pyarrow as pa

        self._require_open()
        trials = self.path / _TRIALS
        key = (schema.metadata or {}).get(b"hermes.study_key", b"").decode()
        tables, set_aside = [schema.empty_table()], []
        for name in list_parts(trials):
            try:
                tables.append(conform(read_part(trials, name, key), schema))
                self._rows[name] = tables[-1].num_rows
            except DamagedPartError as error:
                set_aside.append(self._set_aside(name, str(error)))
        return StoredRows(without_duplicates(pa.concat_tables(tables)), tuple(set_aside))

    def _take_lock(self) -> None:
        if self._lock is not None:
            raise HermesError(f"{self!r} is open already")
        path = self.path / _LOCK
        with explained("lock", path):
            descriptor = self._files.open_lock(path)
            try:
                self._files.lock(descriptor)
            except BlockingIOError as error:
                holder = _holder(descriptor)
                self._files.close(descriptor)
                raise StudyLockedError(
                    f"study {self.path} is being written by {holder}; wait for it, stop it, "
                    "or choose another output folder"
                ) from error
            except BaseException:
                self._files.close(descriptor)
                raise
            self._lock = descriptor
            self._sign_lock(descriptor)

    def _sign_lock(self, descriptor: int) -> None:
        """Say who holds the lock: for the message only, the kernel decides who has it."""
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        try:
            self._files.truncate(descriptor)
            self._files.write(descriptor, memoryview(json.dumps(holder).encode()))
        except BaseException:
            self.close()
            raise

    def _require_open(self) -> None:
        if self._lock is None:
            raise HermesError(f"{self!r} is not open: use it in a `with` statement")

    def _remove_drafts(self) -> None:
        """Remove what a killed driver had not finished writing."""
        drafts = [self.path / f".{_STUDY}.tmp"]
        with os.scandir(self.path / _TRIALS) as entries:
            drafts += [
                Path(entry.path)
                for entry in entries
                if entry.name.startswith(".")
                and entry.name.endswith(".tmp")
                and PartName.parse(entry.name[1:-4])
            ]
        for draft in drafts:
            if os.path.lexists(draft):
                with explained("remove", draft):
                    self._files.remove(draft)

    def _set_aside(self, name: PartName, why: str) -> SetAside:
        folder = self.path / _QUARANTINE
        target = folder / name.file
        with explained("set aside", self.path / _TRIALS / name.file):
            self._files.make_folder(folder)
            count = 0
            while os.path.lexists(target):
                count += 1
                target = folder / f"{name.file}.{count}"
            self._files.rename(self.path / _TRIALS / name.file, target)
            self._files.sync_folder(folder)
            self._files.sync_folder(self.path / _TRIALS)
        return SetAside(str(target.relative_to(self.path)), why)


def read_study(path: Path) -> dict[str, object] | None:
    """Return the content of a folder's study.json, or None when there is none."""
    file = Path(path) / _STUDY
    try:
        study = json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HermesError(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise HermesError(f"{file} is damaged: it is not JSON ({error})") from error
    if not isinstance(study, dict):
        raise HermesError(f"{file} is damaged: it holds no study")
    return study


def _require_same_study(
    path: Path, held: Mapping[str, object], wanted: Mapping[str, object]
) -> None:
    if held.get("study_key") == wanted.get("study_key"):
        return
    changed = sorted(
        name
        for name in held.keys() | wanted.keys()
        if name != "study_key" and held.get(name) != wanted.get(name)
    )
    raise InputError(
        f"{path} holds another study ({held.get('name')!r}; different: "
        f"{', '.join(changed) or 'its key'}); choose another output folder"
    )


def _holder(descriptor: int) -> str:
    try:
        said = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {int(said['pid'])} on {said['host']} since {said['since']}"
    except (ValueError, KeyError, TypeError, OSError):
        return "another process"
