"""A table file as rows of text or numbers: CSV, gzipped CSV, Parquet."""

from __future__ import annotations

import csv
import gzip
import io
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hermes.errors import InputError

__all__ = ["number", "read_rows"]

Row = Mapping[str, Any]


def read_rows(path: Path, delimiter: str = ",") -> Iterator[tuple[int, Row]]:
    """Yield the line and the cells of every row.

    Raises:
        InputError: The file cannot be read, or a row is longer or shorter than the header.
    """
    try:
        if path.suffix == ".parquet":
            yield from _parquet(path)
            return
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", file=str(path)) from error
    except UnicodeDecodeError as error:
        raise InputError("is no UTF-8 text", file=str(path)) from error
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    for row in reader:
        if None in row or None in row.values():
            width = len(reader.fieldnames or ())
            raise InputError(f"expected {width} cells", file=str(path), line=reader.line_num)
        yield reader.line_num, {str(key).strip(): cell for key, cell in row.items()}


def _parquet(path: Path) -> Iterator[tuple[int, Row]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise InputError(f"is no Parquet: {error}", file=str(path)) from error
    names = table.column_names
    columns = [table.column(name).to_pylist() for name in names]
    for position, cells in enumerate(zip(*columns, strict=True), start=1):
        yield position, dict(zip(names, cells, strict=True))


def number(row: Row, column: str, path: Path, line: int) -> float:
    """Return a cell as a number.

    Raises:
        InputError: It is missing, or none; says where.
    """
    cell = row.get(column)
    try:
        value = float(cell)  # type: ignore[arg-type]  # what is no number is caught
    except (TypeError, ValueError):
        raise InputError(f"expected a number, got {cell!r}", column, str(path), line) from None
    if math.isnan(value):
        raise InputError("expected a number, got NaN", column, str(path), line)
    return value
