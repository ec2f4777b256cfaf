"""Parts: the Parquet files a study's rows live in.

A part is written once and never changed. Its name holds the start of the SHA-256 of its content,
so truncation or a flipped bit shows before Parquet, which would read most flipped bits back as
wrong numbers, is asked at all.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hermes.errors import HermesError
from hermes.results.files import cause_of, explained
from hermes.results.place import TRIALS, Place
from hermes.results.schema import PROVENANCE_COLUMNS, SCHEMA_VERSION

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "DamagedPartError",
    "PartName",
    "conform",
    "encode_part",
    "list_parts",
    "read_parts",
    "without_duplicates",
]

_PATTERN = re.compile(r"part-(\d{6,12})-([0-9a-f]{16})\.parquet")
_SETTLED = ("completed", "infeasible", "pruned")
_EXEMPT = frozenset({"number", *PROVENANCE_COLUMNS})


class DamagedPartError(HermesError):
    """A part cannot be used as it is; the message says why."""


@dataclass(frozen=True, slots=True, order=True)
class PartName:
    """What a part's file name says: its number in the study and its content's digest."""

    number: int
    digest: str

    @classmethod
    def of(cls, number: int, content: bytes) -> PartName:
        """Name *content* as part *number*."""
        return cls(number, hashlib.sha256(content).hexdigest()[:16])

    @classmethod
    def parse(cls, name: str) -> PartName | None:
        """Read a file name; None when it is no part's."""
        match = _PATTERN.fullmatch(name)
        return cls(int(match[1]), match[2]) if match else None

    @property
    def file(self) -> str:
        """The file name."""
        return f"part-{self.number:06d}-{self.digest}.parquet"


def encode_part(table: pa.Table) -> bytes:
    """Return the table as a Parquet file with page checksums."""
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()


def list_parts(place: Place) -> list[PartName]:
    """Return a study's parts in order; anything else beside them is not ours and is left alone."""
    with explained("list", place.at(TRIALS)):
        names = [PartName.parse(name) for name in place.names(TRIALS)]
    return sorted(name for name in names if name is not None)


def read_parts(
    place: Place, names: Sequence[PartName], study_key: str = ""
) -> Iterator[tuple[PartName, pa.Table | DamagedPartError]]:
    """Read parts after checking every byte of them; a damaged one comes as the error it is.

    Raises:
        HermesError: A newer Hermes wrote one.
    """
    contents = place.read_all([f"{TRIALS}/{name.file}" for name in names])
    for name, content in zip(names, contents, strict=True):
        try:
            found = _decoded(place, name, content)
            _require_owner(found, study_key)
        except DamagedPartError as error:
            yield name, error
        else:
            yield name, found


def _decoded(place: Place, name: PartName, content: bytes | OSError) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if isinstance(content, OSError):
        raise DamagedPartError(f"cannot be read: {cause_of(content)}") from content
    if PartName.of(name.number, content) != name:
        raise DamagedPartError(
            f"damaged: its {len(content)} bytes do not have the SHA-256 its name promises"
        )
    try:
        table = pq.read_table(
            pa.BufferReader(content), page_checksum_verification=True, partitioning=None
        )
    except (pa.ArrowException, OSError) as error:
        raise DamagedPartError(f"not a Parquet file Hermes wrote: {error}") from error
    version = (table.schema.metadata or {}).get(b"hermes.schema_version", b"")
    number = version.decode("ascii", "replace")
    if not number.isdecimal():
        raise DamagedPartError("not a part Hermes wrote: it carries no schema version")
    if int(number) > SCHEMA_VERSION:
        raise HermesError(
            f"{place.at(f'{TRIALS}/{name.file}')} was written by a newer Hermes (row schema "
            f"{number}, this one reads up to {SCHEMA_VERSION}); use that version"
        )
    return table


def _require_owner(table: pa.Table, study_key: str) -> None:
    found = (table.schema.metadata or {}).get(b"hermes.study_key", b"")
    owner = found.decode("utf-8", "replace")
    if study_key and owner and owner != study_key:
        raise DamagedPartError(f"belongs to another study (key {owner[:12]})")


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Bring a part to *schema*: columns it lacks are null, columns unknown to it are dropped."""
    import pyarrow as pa

    columns = []
    for field in schema:
        if field.name not in table.column_names:
            if not field.nullable:
                raise DamagedPartError(f"not a part of this study: it lacks column {field.name!r}")
            columns.append(pa.nulls(table.num_rows, field.type))
            continue
        column = table.column(field.name)
        if column.type != field.type:
            raise DamagedPartError(
                f"not a part of this study: column {field.name!r} is {column.type}, "
                f"not {field.type}"
            )
        columns.append(column)
    return pa.table(columns, schema=schema)


def without_duplicates(table: pa.Table) -> pa.Table:
    """Keep one row a trial key, in the order asked.

    A trial can be run twice: a worker thought dead delivers after all. Both rows must then hold
    the same simulation values, bit by bit; a difference means that the simulator is not
    deterministic, and no result can be trusted. A row that was only a failure of the machinery
    gives way to one that settled the question.

    Raises:
        HermesError: Two settled rows of one key differ.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    keys: list[Any] = table.column("trial_key").to_pylist()
    kept: dict[str, int] = {}
    statuses = table.column("status").to_pylist()
    for position, key in enumerate(keys):
        first = kept.setdefault(key, position)
        if first == position:
            continue
        settled = statuses[first] in _SETTLED, statuses[position] in _SETTLED
        if all(settled):
            _require_equal(table, first, position)
        elif not settled[0]:
            kept[key] = position
    if len(kept) < len(keys):
        table = table.take(pa.array(sorted(kept.values()), type=pa.int64()))
    return table.take(pc.sort_indices(table, sort_keys=[("number", "ascending")]))


def _require_equal(table: pa.Table, first: int, second: int) -> None:
    one, other = table.slice(first, 1), table.slice(second, 1)
    for name in _compared(table):
        before, after = one.column(name)[0].as_py(), other.column(name)[0].as_py()
        if _bits(before) != _bits(after):
            key = one.column("trial_key")[0].as_py()
            raise HermesError(
                f"trial {key} was simulated twice with different results: {name} was {before!r}, "
                f"then {after!r}. Equal scenarios and seeds must give equal rows; this is a bug "
                "in Hermes, or the two ran different code under one version number"
            )


def _compared(table: pa.Table) -> Iterator[str]:
    return (name for name in table.column_names if name not in _EXEMPT)


def _bits(value: object) -> object:
    return value.hex() if isinstance(value, float) else value
