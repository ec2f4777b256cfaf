"""A study's folder: its question, its rows and the one driver that may write.

```
OUT/study.json                                   the resolved study, written first
OUT/trials/part-<number>-<sha256[:16]>.parquet   finished trials, whole parts only
OUT/quarantine/                                  damaged parts, set aside to be run again
OUT/.lock                                        held by the kernel while a driver lives
OUT/.drivers/                                    instead of it in an object store: leases
```

Nothing here depends on a tidy end: a driver may be killed at any instruction, and the next one
finds every row of every part that was published.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from hermes.errors import HermesError, InputError
from hermes.results.files import Files, cause_of, explained
from hermes.results.local_place import LocalPlace
from hermes.results.parts import (
    DamagedPartError,
    PartName,
    conform,
    encode_part,
    list_parts,
    read_parts,
    without_duplicates,
)
from hermes.results.place import STUDY, TRIALS, Place, is_url, open_place
from hermes.results.schema import rows_to_table

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["SetAside", "StoredRows", "StudyFolder", "read_study"]

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

    Use it as a context: entering creates the folder and claims it, leaving gives it back.

    Args:
        path: The study's output folder, or the URL of a prefix in an object store.
        files: The system calls to use, where it is a folder.
    """

    def __init__(self, path: str | Path | Place, files: Files | None = None) -> None:
        if isinstance(path, Place):
            self.place: Place = path
        elif is_url(path):
            self.place = open_place(path)
        else:
            self.place = LocalPlace(Path(path), files)
        self._next_number = 0
        self._rows: dict[PartName, int] = {}  # of the parts read or written so far

    def __repr__(self) -> str:
        return f"StudyFolder({str(self.place)!r})"

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Create the folder, claim it and sweep away what a killed driver left half-done.

        Raises:
            StudyLockedError: Another driver holds the folder; the message names it.
        """
        self.place.claim()
        try:
            numbers = [part.number for part in list_parts(self.place)]
        except BaseException:
            self.close()
            raise
        self._next_number = max(numbers, default=-1) + 1

    def close(self) -> None:
        """Give the folder back."""
        self.place.release()

    def study(self) -> dict[str, object] | None:
        """Return the study the folder holds, or None when it is new."""
        return read_study(self.place)

    def write_study(self, study: Mapping[str, object]) -> None:
        """Write study.json, or check that the one there asks the same question.

        Raises:
            InputError: The folder holds another study (`study_key` differs).
        """
        self._require_open()
        held = self.study()
        if held is not None:
            _require_same_study(self.place, held, study)
            return
        content = json.dumps(study, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        with explained("write", self.place.at(STUDY)):
            self.place.replace(STUDY, content.encode("utf-8"))

    def write_part(self, rows: Sequence[Mapping[str, object]], schema: pa.Schema) -> Path | str:
        """Make *rows* durable as one new part and return its path or URL.

        When this returns, the rows survive a power cut. When it raises, they may or may not be
        there; writing them again does no harm.
        """
        self._require_open()
        content = encode_part(rows_to_table(rows, schema))
        name = PartName.of(self._next_number, content)
        self._next_number += 1
        path = self.place.at(f"{TRIALS}/{name.file}")
        with explained(f"write {len(rows)} trials ({len(content)} bytes) to", path):
            self.place.publish(f"{TRIALS}/{name.file}", content)
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
        key = (schema.metadata or {}).get(b"hermes.study_key", b"").decode()
        tables = []
        for _, found in read_parts(self.place, small, key):
            if isinstance(found, DamagedPartError):
                return  # the next start sets it aside
            tables.append(conform(found, schema))
        table = without_duplicates(pa.concat_tables(tables))
        content = encode_part(table)
        merged = PartName.of(self._next_number, content)
        self._next_number += 1
        with explained(f"merge {len(small)} parts into", self.place.at(f"{TRIALS}/{merged.file}")):
            self.place.publish(f"{TRIALS}/{merged.file}", content)
            self._rows[merged] = table.num_rows
            for name in small:
                del self._rows[name]
            self.place.remove(TRIALS, [name.file for name in small])

    def read_rows(self, schema: pa.Schema) -> StoredRows:
        """Read every part, setting damaged ones aside so that their trials are run again.

        Raises:
            HermesError: Two rows of one trial disagree, or a newer Hermes wrote the study.
        """
        import pyarrow as pa

        self._require_open()
        key = (schema.metadata or {}).get(b"hermes.study_key", b"").decode()
        tables, set_aside = [schema.empty_table()], []
        for name, found in read_parts(self.place, list_parts(self.place), key):
            try:
                if isinstance(found, DamagedPartError):
                    raise found
                tables.append(conform(found, schema))
                self._rows[name] = tables[-1].num_rows
            except DamagedPartError as error:
                set_aside.append(self._set_aside(name, str(error)))
        return StoredRows(without_duplicates(pa.concat_tables(tables)), tuple(set_aside))

    def _require_open(self) -> None:
        if not self.place.claimed:
            raise HermesError(f"{self!r} is not open: use it in a `with` statement")

    def _set_aside(self, name: PartName, why: str) -> SetAside:
        with explained("set aside", self.place.at(f"{TRIALS}/{name.file}")):
            return SetAside(self.place.set_aside(TRIALS, name.file), why)


def read_study(place: Place) -> dict[str, object] | None:
    """Return the content of a folder's study.json, or None when there is none."""
    file = place.at(STUDY)
    try:
        study = json.loads(place.read(STUDY))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HermesError(f"cannot read {file}: {cause_of(error)}") from error
    except ValueError as error:
        raise HermesError(f"{file} is damaged: it is not JSON ({error})") from error
    if not isinstance(study, dict):
        raise HermesError(f"{file} is damaged: it holds no study")
    return study


def _require_same_study(
    place: Place, held: Mapping[str, object], wanted: Mapping[str, object]
) -> None:
    if held.get("study_key") == wanted.get("study_key"):
        return
    changed = sorted(
        name
        for name in held.keys() | wanted.keys()
        if name != "study_key" and held.get(name) != wanted.get(name)
    )
    raise InputError(
        f"{place} holds another study ({held.get('name')!r}; different: "
        f"{', '.join(changed) or 'its key'}); choose another output folder"
    )
